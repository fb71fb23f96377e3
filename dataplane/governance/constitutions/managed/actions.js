// What members can propose. An action names its arguments and their types, may look closer at them (`check`, before
// the vote, without writing), and takes effect in `apply`, in the transaction that accepts the proposal.

const RECOVERY_ROLES = ["NonParticipant", "Participant", "Owner"];
const VALIDITY = { valid_from: "string", validity_period_days: optional("integer") };

const actions = new Map(
  Object.entries({
    set_constitution: {
      args: { constitution: "string" },
      check({ constitution }) {
        ccf.gov.validateConstitution(constitution);
      },
      apply({ constitution }, proposalId) {
        writeJson("constitution", constitution);
        dropOtherOpenProposals(proposalId);
      },
    },

    set_member: {
      args: {
        cert: "string",
        encryption_pub_key: optional("string"),
        member_data: optional("object"),
        recovery_role: optional("string"),
      },
      check({ cert, encryption_pub_key, recovery_role }) {
        checkCertificate(cert, "cert");
        if (!isAbsent(encryption_pub_key)) {
          checkPattern(encryption_pub_key, PUBLIC_KEY_BLOCK, "encryption_pub_key", "a PEM public key");
        }
        if (isAbsent(recovery_role)) return;
        checkOneOf(recovery_role, RECOVERY_ROLES, "recovery_role");
        if (isAbsent(encryption_pub_key)) throw new Error("recovery_role needs an encryption_pub_key");
      },
      apply({ cert, encryption_pub_key, member_data, recovery_role }) {
        const memberId = ccf.pemToId(cert);
        const info = { status: "Accepted" };
        if (!isAbsent(member_data)) info.member_data = member_data;
        if (!isAbsent(recovery_role)) info.recovery_role = recovery_role;
        const stateDigest = lastSignedRoot();
        writeText("members.certs", memberId, cert);
        if (isAbsent(encryption_pub_key)) removeKey("members.encryption_public_keys", memberId);
        else writeText("members.encryption_public_keys", memberId, encryption_pub_key);
        writeJson("members.info", info, memberId);
        writeJson("members.acks", { state_digest: stateDigest }, memberId);
      },
    },

    remove_member: {
      args: { member_id: "string" },
      check({ member_id }) {
        checkPattern(member_id, HEX_DIGEST, "member_id", "64 hexadecimal digits");
      },
      apply({ member_id }) {
        const info = readJson("members.info", member_id);
        if (info === undefined) return;
        const heldShare = RECOVERY_ROLES.slice(1).some((role) => isRecoveryMember(member_id, info, role));
        if (heldShare) checkRecoveryWithout(member_id);
        for (const name of ["certs", "encryption_public_keys", "info", "acks"]) {
          removeKey(`members.${name}`, member_id);
        }
        // What is written from now on is not for holders of the old shares.
        if (heldShare && serviceInfo().status === "Open") ccf.node.triggerLedgerRekey();
      },
    },

    set_member_data: {
      args: { member_id: "string", member_data: "object" },
      check({ member_id }) {
        checkPattern(member_id, HEX_DIGEST, "member_id", "64 hexadecimal digits");
      },
      apply({ member_id, member_data }) {
        const info = readJson("members.info", member_id);
        if (info === undefined) throw new Error(`no member has the id ${member_id}`);
        writeJson("members.info", { ...info, member_data }, member_id);
      },
    },

    set_user: {
      args: { cert: "string", user_data: optional("object") },
      check({ cert }) {
        checkCertificate(cert, "cert");
      },
      apply({ cert, user_data }) {
        const userId = ccf.pemToId(cert);
        writeText("users.certs", userId, cert);
        setUserData(userId, user_data);
      },
    },

    remove_user: {
      args: { user_id: "string" },
      check({ user_id }) {
        checkPattern(user_id, HEX_DIGEST, "user_id", "64 hexadecimal digits");
      },
      apply({ user_id }) {
        removeKey("users.certs", user_id);
        removeKey("users.info", user_id);
      },
    },

    set_user_data: {
      args: { user_id: "string", user_data: optional("object") },
      check({ user_id }) {
        checkPattern(user_id, HEX_DIGEST, "user_id", "64 hexadecimal digits");
      },
      apply({ user_id, user_data }) {
        if (!hasKey("users.certs", user_id)) throw new Error(`no user has the id ${user_id}`);
        setUserData(user_id, user_data);
      },
    },

    set_recovery_threshold: {
      args: { recovery_threshold: "integer" },
      check({ recovery_threshold }) {
        checkRange(recovery_threshold, 1, 254, "recovery_threshold");
      },
      apply({ recovery_threshold }) {
        setConfiguration({ recovery_threshold });
      },
    },

    set_service_configuration: {
      args: {
        recovery_threshold: optional("integer"),
        recent_cose_proposals_window_size: optional("integer"),
        reconfiguration_type: optional("string"),
      },
      check({ recovery_threshold, recent_cose_proposals_window_size, reconfiguration_type }) {
        if (!isAbsent(recovery_threshold)) checkRange(recovery_threshold, 1, 254, "recovery_threshold");
        if (!isAbsent(recent_cose_proposals_window_size)) {
          checkRange(recent_cose_proposals_window_size, 1, 10000, "recent_cose_proposals_window_size");
        }
        if (!isAbsent(reconfiguration_type)) {
          checkOneOf(reconfiguration_type, ["OneTransaction"], "reconfiguration_type");
        }
      },
      apply(args) {
        setConfiguration(Object.fromEntries(Object.entries(args).filter(([, value]) => !isAbsent(value))));
      },
    },

    trigger_ledger_rekey: {
      args: {},
      apply() {
        ccf.node.triggerLedgerRekey();
      },
    },

    trigger_recovery_shares_refresh: {
      args: {},
      apply() {
        ccf.node.triggerRecoverySharesRefresh();
      },
    },

    transition_service_to_open: {
      args: { next_service_identity: "string", previous_service_identity: optional("string") },
      check({ next_service_identity, previous_service_identity }) {
        checkPattern(next_service_identity, CERTIFICATE_BLOCK, "next_service_identity", "a PEM certificate");
        if (isAbsent(previous_service_identity)) return;
        checkPattern(previous_service_identity, CERTIFICATE_BLOCK, "previous_service_identity", "a PEM certificate");
      },
      apply({ next_service_identity, previous_service_identity }) {
        const previous = isAbsent(previous_service_identity) ? undefined : ccf.strToBuf(previous_service_identity);
        ccf.node.transitionServiceToOpen(previous, ccf.strToBuf(next_service_identity));
      },
    },

    set_js_app: {
      args: { bundle: "object", disable_bytecode_cache: optional("boolean") },
      check: checkBundle,
      apply({ bundle, disable_bytecode_cache }) {
        clearApplication();
        for (const { name, module } of bundle.modules) writeText("modules", moduleKey(name), module);
        for (const [path, verbs] of Object.entries(bundle.metadata.endpoints)) {
          for (const [verb, endpoint] of Object.entries(verbs)) {
            const stored = { ...endpoint, js_module: moduleKey(endpoint.js_module) };
            writeJson("endpoints", stored, `${verb.toUpperCase()} ${path}`);
          }
        }
        if (disable_bytecode_cache !== true) ccf.refreshAppBytecodeCache();
        writeJson("interpreter.flush", true);
      },
    },

    remove_js_app: {
      args: {},
      apply() {
        clearApplication();
        writeJson("interpreter.flush", true);
      },
    },

    refresh_js_app_bytecode_cache: {
      args: {},
      apply() {
        ccf.refreshAppBytecodeCache();
      },
    },

    set_js_runtime_options: {
      args: {
        max_heap_bytes: "integer",
        max_stack_bytes: "integer",
        max_execution_time_ms: "integer",
        log_exception_details: optional("boolean"),
        return_exception_details: optional("boolean"),
        max_cached_interpreters: optional("integer"),
      },
      check({ max_heap_bytes, max_stack_bytes, max_execution_time_ms, max_cached_interpreters }) {
        checkRange(max_heap_bytes, 1, Number.MAX_SAFE_INTEGER, "max_heap_bytes");
        checkRange(max_stack_bytes, 1, Number.MAX_SAFE_INTEGER, "max_stack_bytes");
        checkRange(max_execution_time_ms, 1, Number.MAX_SAFE_INTEGER, "max_execution_time_ms");
        if (!isAbsent(max_cached_interpreters)) {
          checkRange(max_cached_interpreters, 0, Number.MAX_SAFE_INTEGER, "max_cached_interpreters");
        }
      },
      apply(args) {
        writeJson("js_runtime_options", args);
      },
    },

    transition_node_to_trusted: {
      args: { node_id: "string", ...VALIDITY },
      check: checkValidity,
      apply({ node_id, valid_from, validity_period_days }) {
        const info = nodeInfo(node_id);
        if (info.status !== "Pending") return;
        endorseNode(node_id, info, valid_from, validity_period_days);
        const ledger_secret_seqno = ccf.network.getLatestLedgerSecretSeqno();
        writeJson("nodes.info", { ...info, status: "Trusted", ledger_secret_seqno }, node_id);
      },
    },

    remove_node: {
      args: { node_id: "string" },
      apply({ node_id }) {
        const info = readJson("nodes.info", node_id);
        if (info === undefined || info.status === "Retired") return;
        if (info.status === "Pending") removeKey("nodes.info", node_id);
        else retireNode(node_id, info);
      },
    },

    set_node_data: {
      args: { node_id: "string", node_data: "any" },
      apply({ node_id, node_data }) {
        writeJson("nodes.info", { ...nodeInfo(node_id), node_data }, node_id);
      },
    },

    set_node_certificate_validity: {
      args: { node_id: "string", ...VALIDITY },
      check: checkValidity,
      apply({ node_id, valid_from, validity_period_days }) {
        const info = nodeInfo(node_id);
        if (info.status !== "Trusted") throw new Error(`node ${node_id} is ${info.status}, not Trusted`);
        endorseNode(node_id, info, valid_from, validity_period_days);
      },
    },

    set_all_nodes_certificate_validity: {
      args: VALIDITY,
      check: checkValidity,
      apply({ valid_from, validity_period_days }) {
        for (const [nodeId, info] of entries("nodes.info")) {
          if (info.status === "Trusted") endorseNode(nodeId, info, valid_from, validity_period_days);
        }
      },
    },

    set_service_certificate_validity: {
      args: VALIDITY,
      check: checkValidity,
      apply({ valid_from, validity_period_days }) {
        const maximum =
          serviceConfiguration().maximum_service_certificate_validity_days ?? DEFAULT_MAXIMUM_DAYS;
        const days = requestedDays(validity_period_days, maximum);
        const cert = ccf.network.generateNetworkCertificate(valid_from, days);
        writeJson("service.info", { ...serviceInfo(), cert });
      },
    },

    assert_service_identity: {
      args: { service_identity: "string" },
      check({ service_identity }) {
        if (serviceInfo().cert !== service_identity) {
          throw new Error("service_identity is not the certificate of this service");
        }
      },
      apply() {},
    },

    trigger_ledger_chunk: {
      args: {},
      apply() {
        ccf.node.triggerLedgerChunk();
      },
    },

    trigger_snapshot: {
      args: {},
      apply() {
        ccf.node.triggerSnapshot();
      },
    },

    add_virtual_measurement: {
      args: { measurement: "string" },
      apply({ measurement }, proposalId) {
        writeJson("nodes.virtual.measurements", "AllowedToJoin", measurement);
        dropOtherOpenProposals(proposalId);
      },
    },

    remove_virtual_measurement: {
      args: { measurement: "string" },
      apply({ measurement }) {
        removeKey("nodes.virtual.measurements", measurement);
      },
    },

    add_virtual_host_data: {
      args: { host_data: "string" },
      check({ host_data }) {
        checkPattern(host_data, HEX_DIGEST, "host_data", "64 lower-case hexadecimal digits");
      },
      apply({ host_data }, proposalId) {
        table("nodes.virtual.host_data").set(ccf.strToBuf(host_data), UNIT);
        dropOtherOpenProposals(proposalId);
      },
    },

    remove_virtual_host_data: {
      args: { host_data: "string" },
      apply({ host_data }) {
        removeKey("nodes.virtual.host_data", host_data);
      },
    },
  }),
);

function checkRecoveryWithout(memberId) {
  const others = entries("members.info").filter(([otherId]) => otherId !== memberId);
  const participants = countRecoveryMembers(others, "Participant");
  const owners = countRecoveryMembers(others, "Owner");
  const threshold = serviceConfiguration().recovery_threshold;
  if (sharesCanBeMade(participants, owners, threshold)) return;
  throw new Error(`without this member ${participants} recovery members remain, below the threshold of ${threshold}`);
}

function setUserData(userId, userData) {
  if (isAbsent(userData)) removeKey("users.info", userId);
  else writeJson("users.info", { user_data: userData }, userId);
}

function setConfiguration(changes) {
  const before = serviceConfiguration();
  const status = serviceInfo().status;
  const newThreshold = Object.hasOwn(changes, "recovery_threshold");
  if (newThreshold && status === "WaitingForRecoveryShares") {
    throw new Error("the recovery threshold cannot change while recovery shares are awaited");
  }
  writeJson("service.config", { ...before, ...changes });
  if (newThreshold && before.recovery_threshold !== changes.recovery_threshold) refreshSharesIfOpen();
}

function clearApplication() {
  for (const name of ["modules", "modules_quickjs_bytecode", "modules_quickjs_version", "endpoints"]) {
    table(name).clear();
  }
}

// A service without a trusted node can accept nothing any more, not even the proposal that would repair it.
function retireNode(nodeId, info) {
  const trusted = entries("nodes.info").filter(([, other]) => other.status === "Trusted");
  if (trusted.length <= 1) throw new Error(`node ${nodeId} is the last trusted node`);
  writeJson("nodes.info", { ...info, status: "Retired" }, nodeId);
}
