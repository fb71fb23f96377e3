// What members can propose: shared by all constitutions offered here, which differ in who decides (`resolve`).
//
// An action names its arguments and their types, may look closer at them (`check`, before the vote, without writing),
// and takes effect in `apply`, in the transaction that accepts the proposal. Files that come after this one add actions
// with `actions.set(name, new Action(validate, apply))` and may use everything that stands here.
//
// Longer than 400 lines because a node's configuration lists four files, and this is the one for actions.

class Action {
  constructor(validate, apply, args) {
    this.validate = validate;
    this.apply = apply;
    this.args = args;
  }
}

// Checks of what a proposal says. Each throws an Error that names the offending argument.

const PUBLIC_KEY_BLOCK = /^-----BEGIN PUBLIC KEY-----[\s\S]+-----END PUBLIC KEY-----\s*$/;
const NOT_EMPTY = /^[\s\S]+$/;
const DIGEST = /^[0-9a-f]{64}$/;
const MEASUREMENT = /^([0-9a-f]{2})+$/;
const CPUID = /^[0-9a-f]{8}$/;
const TCB_VERSION = /^[0-9a-f]{16}$/;
const HTTPS_URL = /^https:\/\/[^/?#]+(\/[^?#]*)?$/;
const HTTP_VERBS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
const RECOVERY_ROLES = ["NonParticipant", "Participant", "Owner"];
const VALIDITY = { valid_from: "string", validity_period_days: "integer?" };

const TYPES = {
  any: (value) => value !== undefined,
  array: Array.isArray,
  integer: Number.isSafeInteger,
  object: (value) => typeof value === "object" && value !== null && !Array.isArray(value),
};

// A type that ends in `?` admits undefined and null.
function checkType(value, type, field) {
  if (type.endsWith("?")) {
    if (isAbsent(value)) return;
    type = type.slice(0, -1);
  }
  const fits = TYPES[type] ?? ((given) => typeof given === type);
  if (!fits(value)) throw new Error(`${field} must be of type ${type}`);
}

function isAbsent(value) {
  return value === undefined || value === null;
}

function checkEnum(value, members, field) {
  if (!members.includes(value)) throw new Error(`${field} must be one of ${members.join(", ")}`);
}

// A bound that is null, like a value that is absent, is not looked at.
function checkBounds(value, low, high, field) {
  if (isAbsent(value)) return;
  const fits = (low === null || value >= low) && (high === null || value <= high);
  if (fits) return;
  if (high === null) throw new Error(`${field} must be at least ${low}`);
  throw new Error(`${field} must be between ${low} and ${high}`);
}

function checkPattern(value, pattern, field, what) {
  checkType(value, "string", field);
  if (!pattern.test(value)) throw new Error(`${field} must be ${what}`);
}

function checkEntityId(value, field) {
  checkPattern(value, /^[0-9a-fA-F]{64}$/, field, "64 hexadecimal digits");
}

function checkX509CertBundle(value, field) {
  checkType(value, "string", field);
  if (!ccf.crypto.isValidX509CertBundle(value)) throw new Error(`${field} must be a PEM certificate, or several`);
}

function checkNone(args) {
  const names = Object.keys(args ?? {});
  if (names.length > 0) throw new Error(`this action takes no argument, not even ${names[0]}`);
}

function checkValidity({ validity_period_days }) {
  checkBounds(validity_period_days, 1, 36500, "validity_period_days");
}

function checkJwks(jwks, field) {
  checkType(jwks, "object", field);
  checkType(jwks.keys, "array", `${field}.keys`);
  jwks.keys.forEach((jwk, index) => checkJwk(jwk, `${field}.keys[${index}]`));
}

function checkJwk(jwk, field) {
  checkType(jwk, "object", field);
  for (const name of ["kid", "kty"]) checkType(jwk[name], "string", `${field}.${name}`);
  if (!isAbsent(jwk.x5c)) return checkCertificateChain(jwk.x5c, `${field}.x5c`);
  const names = [["n", "e"], ["x", "y", "crv"]].find(([first]) => !isAbsent(jwk[first]));
  if (names === undefined) throw new Error(`${field} must hold x5c, or n and e, or x, y and crv`);
  for (const name of names) checkType(jwk[name], "string", `${field}.${name}`);
}

function checkCertificateChain(chain, field) {
  checkType(chain, "array", field);
  if (chain.length === 0) throw new Error(`${field} must not be empty`);
  chain.forEach((der, index) => {
    checkType(der, "string", `${field}[${index}]`);
    checkX509CertBundle(`-----BEGIN CERTIFICATE-----\n${der}\n-----END CERTIFICATE-----\n`, `${field}[${index}]`);
  });
}

// An application bundle: {metadata: {endpoints: {path: {verb: endpoint}}}, modules: [{name, module}]}. Where the node
// offers it, the whole bundle is also compiled, so that nobody votes on what cannot be installed.
function checkBundle({ bundle }) {
  checkType(bundle.metadata, "object", "bundle.metadata");
  checkType(bundle.metadata.endpoints, "object", "bundle.metadata.endpoints");
  checkType(bundle.modules, "array", "bundle.modules");
  const names = checkModules(bundle.modules);
  for (const [path, verbs] of Object.entries(bundle.metadata.endpoints)) {
    if (!path.startsWith("/")) throw new Error(`endpoint path ${path} must begin with /`);
    checkType(verbs, "object", `endpoint ${path}`);
    for (const [verb, endpoint] of Object.entries(verbs)) checkEndpoint(`${verb} ${path}`, verb, endpoint, names);
  }
  ccf.gov.checkBundle?.(bundle);
}

function checkModules(modules) {
  const names = new Set();
  modules.forEach((entry, index) => {
    checkType(entry, "object", `bundle.modules[${index}]`);
    checkType(entry.name, "string", `bundle.modules[${index}].name`);
    checkType(entry.module, "string", `bundle.modules[${index}].module`);
    const name = moduleKey(entry.name);
    if (name === "/") throw new Error(`bundle.modules[${index}].name must not be empty`);
    if (names.has(name)) throw new Error(`bundle.modules has ${entry.name} twice`);
    names.add(name);
  });
  return names;
}

function checkEndpoint(where, verb, endpoint, moduleNames) {
  checkEnum(verb.toUpperCase(), HTTP_VERBS, `${where}: the verb`);
  checkType(endpoint, "object", where);
  for (const name of ["js_module", "js_function"]) checkPattern(endpoint[name], /./, `${where}: ${name}`, "not empty");
  checkEnum(endpoint.mode, ["readwrite", "readonly", "historical"], `${where}: mode`);
  checkEnum(endpoint.forwarding_required, ["sometimes", "always", "never"], `${where}: forwarding_required`);
  if (!isAbsent(endpoint.redirection_strategy)) {
    checkEnum(endpoint.redirection_strategy, ["none", "to_primary", "to_backup"], `${where}: redirection_strategy`);
  }
  checkPolicies(endpoint.authn_policies, `${where}: authn_policies`);
  checkType(endpoint.openapi, "object?", `${where}: openapi`);
  checkType(endpoint.openapi_hidden, "boolean?", `${where}: openapi_hidden`);
  checkType(endpoint.interpreter_reuse, "object?", `${where}: interpreter_reuse`);
  if (!isAbsent(endpoint.interpreter_reuse)) {
    checkType(endpoint.interpreter_reuse.key, "string", `${where}: interpreter_reuse.key`);
  }
  if (!moduleNames.has(moduleKey(endpoint.js_module))) {
    throw new Error(`${where}: js_module ${endpoint.js_module} is not in the bundle`);
  }
}

// Names are not compared with what the node knows: an unknown policy shows when the endpoint is called.
function checkPolicies(policies, field) {
  checkType(policies, "array", field);
  policies.forEach((policy, index) => {
    if (typeof policy === "string") return;
    checkType(policy, "object", `${field}[${index}]`);
    checkType(policy.all_of, "array", `${field}[${index}].all_of`);
    policy.all_of.forEach((name, at) => checkType(name, "string", `${field}[${index}].all_of[${at}]`));
  });
}

// Access to the governance tables, and the facts that more than one action asks for.

const DEFAULT_MAXIMUM_DAYS = 365;

// The key of a table that holds a single value, and the value of every key of a set.
function getSingletonKvKey() {
  return new ArrayBuffer(8);
}

function table(name) {
  return ccf.kv[`public:ccf.gov.${name}`];
}

function kvKey(key) {
  return key === undefined ? getSingletonKvKey() : ccf.strToBuf(key);
}

function readJson(name, key) {
  const value = table(name).get(kvKey(key));
  return value === undefined ? undefined : ccf.bufToJsonCompatible(value);
}

function writeJson(name, value, key) {
  table(name).set(kvKey(key), ccf.jsonCompatibleToBuf(value));
}

function writeText(name, key, text) {
  table(name).set(ccf.strToBuf(key), ccf.strToBuf(text));
}

function removeKey(name, key) {
  table(name).delete(ccf.strToBuf(key));
}

function hasKey(name, key) {
  return table(name).has(ccf.strToBuf(key));
}

function entries(name) {
  const found = [];
  table(name).forEach((value, key) => found.push([ccf.bufToStr(key), ccf.bufToJsonCompatible(value)]));
  return found;
}

function serviceInfo() {
  const info = readJson("service.info");
  if (info === undefined) throw new Error("the service has no record yet");
  return info;
}

function serviceConfiguration() {
  return readJson("service.config") ?? {};
}

function nodeInfo(nodeId) {
  const info = readJson("nodes.info", nodeId);
  if (info === undefined) throw new Error(`no node has the id ${nodeId}`);
  return info;
}

// The root a new member is asked to acknowledge first.
function lastSignedRoot() {
  const signature = ccf.kv["public:ccf.internal.signatures"].get(getSingletonKvKey());
  if (signature === undefined) throw new Error("no signature transaction exists yet; propose again in a moment");
  return ccf.bufToJsonCompatible(signature).root;
}

function isActiveMember(memberId) {
  return readJson("members.info", memberId)?.status === "Active";
}

function activeMembers() {
  return entries("members.info").filter(([, info]) => info.status === "Active");
}

function hasEncryptionKey(memberId) {
  return hasKey("members.encryption_public_keys", memberId);
}

function takesPartInRecovery(memberId, info, role) {
  if (info.status !== "Active" || !hasEncryptionKey(memberId)) return false;
  return (info.recovery_role ?? "Participant") === role;
}

function countRecoveryMembers(members, role) {
  return members.filter(([memberId, info]) => takesPartInRecovery(memberId, info, role)).length;
}

function sharesCanBeMade(participants, owners, threshold) {
  return participants > 0 ? participants >= threshold : owners > 0 && threshold === 1;
}

function checkRecoveryWithout(memberId) {
  const others = entries("members.info").filter(([otherId]) => otherId !== memberId);
  const participants = countRecoveryMembers(others, "Participant");
  const owners = countRecoveryMembers(others, "Owner");
  const threshold = serviceConfiguration().recovery_threshold;
  if (sharesCanBeMade(participants, owners, threshold)) return;
  throw new Error(`without this member ${participants} recovery members remain, below the threshold of ${threshold}`);
}

// Votes and evidence given before a change of this kind were given about another service.
function invalidateOtherOpenProposals(proposalIdToRetain) {
  for (const [otherId, info] of entries("proposals_info")) {
    if (otherId === proposalIdToRetain || info.state !== "Open") continue;
    writeJson("proposals_info", { ...info, state: "Dropped" }, otherId);
  }
}

function isServiceOpen() {
  return serviceInfo().status === "Open";
}

function moduleKey(name) {
  return name.startsWith("/") ? name : `/${name}`;
}

function requestedDays(requested, maximum) {
  const days = isAbsent(requested) ? maximum : requested;
  if (days > maximum) throw new Error(`validity_period_days ${days} exceeds the maximum of ${maximum}`);
  return days;
}

function endorseNode(nodeId, info, validFrom, requested) {
  if (info.certificate_signing_request === undefined) throw new Error(`node ${nodeId} sent no signing request`);
  const maximum = serviceConfiguration().maximum_node_certificate_validity_days ?? DEFAULT_MAXIMUM_DAYS;
  const days = requestedDays(requested, maximum);
  const certificate = ccf.network.generateEndorsedCertificate(info.certificate_signing_request, validFrom, days);
  writeText("nodes.endorsed_certificates", nodeId, certificate);
}

function setUserData(userId, userData) {
  if (isAbsent(userData)) removeKey("users.info", userId);
  else writeJson("users.info", { user_data: userData }, userId);
}

function setConfiguration(changes) {
  const before = serviceConfiguration();
  const newThreshold =
    changes.recovery_threshold !== undefined && changes.recovery_threshold !== before.recovery_threshold;
  if (newThreshold && serviceInfo().status === "WaitingForRecoveryShares") {
    throw new Error("the recovery threshold cannot change while recovery shares are awaited");
  }
  writeJson("service.config", { ...before, ...changes });
  if (newThreshold && isServiceOpen()) ccf.node.triggerRecoverySharesRefresh();
}

function clearTables(...names) {
  for (const name of names) table(name).clear();
}

function toHex(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The actions.

// `args` maps the names of the arguments to their types.
function defineAction({ args = {}, check, apply }) {
  const validate = (given) => {
    checkType(given, "object?", "args");
    for (const [name, type] of Object.entries(args)) checkType(given?.[name], type, name);
    check?.(given ?? {});
  };
  return new Action(validate, (given, proposalId) => apply(given ?? {}, proposalId), args);
}

// Adds to a list of what may join, and drops the other open proposals.
function addition(name, argument, pattern, what) {
  return {
    args: { [argument]: "string" },
    check: (args) => checkPattern(args[argument], pattern, argument, what),
    apply(args, proposalId) {
      writeJson(name, "AllowedToJoin", args[argument]);
      invalidateOtherOpenProposals(proposalId);
    },
  };
}

function removal(name, argument) {
  return { args: { [argument]: "string" }, apply: (args) => removeKey(name, args[argument]) };
}

function checkCpuid({ cpuid }) {
  checkPattern(cpuid, CPUID, "cpuid", "8 lower-case hexadecimal digits");
}

const definitions = {
  set_constitution: {
    args: { constitution: "string" },
    check({ constitution }) {
      ccf.gov.validateConstitution(constitution);
    },
    apply({ constitution }, proposalId) {
      writeJson("constitution", constitution);
      invalidateOtherOpenProposals(proposalId);
    },
  },

  // Members and users.

  set_member: {
    args: {
      cert: "string",
      encryption_pub_key: "string?",
      member_data: "object?",
      recovery_role: "string?",
    },
    check({ cert, encryption_pub_key, recovery_role }) {
      checkX509CertBundle(cert, "cert");
      if (!isAbsent(encryption_pub_key)) {
        checkPattern(encryption_pub_key, PUBLIC_KEY_BLOCK, "encryption_pub_key", "a PEM public key");
      }
      if (isAbsent(recovery_role)) return;
      checkEnum(recovery_role, RECOVERY_ROLES, "recovery_role");
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
      checkEntityId(member_id, "member_id");
    },
    apply({ member_id }) {
      const info = readJson("members.info", member_id);
      if (info === undefined) return;
      const heldShare = RECOVERY_ROLES.slice(1).some((role) => takesPartInRecovery(member_id, info, role));
      if (heldShare) checkRecoveryWithout(member_id);
      for (const name of ["certs", "encryption_public_keys", "info", "acks"]) {
        removeKey(`members.${name}`, member_id);
      }
      // What is written from now on is not for holders of the old shares.
      if (heldShare && isServiceOpen()) ccf.node.triggerLedgerRekey();
    },
  },

  set_member_data: {
    args: { member_id: "string", member_data: "object" },
    check({ member_id }) {
      checkEntityId(member_id, "member_id");
    },
    apply({ member_id, member_data }) {
      const info = readJson("members.info", member_id);
      if (info === undefined) throw new Error(`no member has the id ${member_id}`);
      writeJson("members.info", { ...info, member_data }, member_id);
    },
  },

  set_user: {
    args: { cert: "string", user_data: "object?" },
    check({ cert }) {
      checkX509CertBundle(cert, "cert");
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
      checkEntityId(user_id, "user_id");
    },
    apply({ user_id }) {
      removeKey("users.certs", user_id);
      removeKey("users.info", user_id);
    },
  },

  set_user_data: {
    args: { user_id: "string", user_data: "object?" },
    check({ user_id }) {
      checkEntityId(user_id, "user_id");
    },
    apply({ user_id, user_data }) {
      if (!hasKey("users.certs", user_id)) throw new Error(`no user has the id ${user_id}`);
      setUserData(user_id, user_data);
    },
  },

  // The service.

  set_recovery_threshold: {
    args: { recovery_threshold: "integer" },
    check({ recovery_threshold }) {
      checkBounds(recovery_threshold, 1, 254, "recovery_threshold");
    },
    apply({ recovery_threshold }) {
      setConfiguration({ recovery_threshold });
    },
  },

  set_service_configuration: {
    args: {
      recovery_threshold: "integer?",
      recent_cose_proposals_window_size: "integer?",
      reconfiguration_type: "string?",
    },
    check(args) {
      for (const name of Object.keys(args)) {
        checkEnum(name, Object.keys(definitions.set_service_configuration.args), `unknown argument ${name}: it`);
      }
      checkBounds(args.recovery_threshold, 1, 254, "recovery_threshold");
      checkBounds(args.recent_cose_proposals_window_size, 1, 10000, "recent_cose_proposals_window_size");
      if (!isAbsent(args.reconfiguration_type)) {
        checkEnum(args.reconfiguration_type, ["OneTransaction"], "reconfiguration_type");
      }
    },
    apply(args) {
      setConfiguration(Object.fromEntries(Object.entries(args).filter(([, value]) => !isAbsent(value))));
    },
  },

  trigger_recovery_shares_refresh: { check: checkNone, apply: () => ccf.node.triggerRecoverySharesRefresh() },
  trigger_ledger_rekey: { check: checkNone, apply: () => ccf.node.triggerLedgerRekey() },
  trigger_ledger_chunk: { apply: () => ccf.node.triggerLedgerChunk() },
  trigger_snapshot: { apply: () => ccf.node.triggerSnapshot() },

  transition_service_to_open: {
    args: { next_service_identity: "string", previous_service_identity: "string?" },
    check({ next_service_identity, previous_service_identity }) {
      checkX509CertBundle(next_service_identity, "next_service_identity");
      if (!isAbsent(previous_service_identity)) {
        checkX509CertBundle(previous_service_identity, "previous_service_identity");
      }
    },
    apply({ next_service_identity, previous_service_identity }) {
      const previous = isAbsent(previous_service_identity) ? undefined : ccf.strToBuf(previous_service_identity);
      ccf.node.transitionServiceToOpen(previous, ccf.strToBuf(next_service_identity));
    },
  },

  set_service_certificate_validity: {
    args: VALIDITY,
    check: checkValidity,
    apply({ valid_from, validity_period_days }) {
      const maximum = serviceConfiguration().maximum_service_certificate_validity_days ?? DEFAULT_MAXIMUM_DAYS;
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

  // The JavaScript application.

  set_js_app: {
    args: { bundle: "object", disable_bytecode_cache: "boolean?" },
    check: checkBundle,
    apply({ bundle, disable_bytecode_cache }) {
      clearTables("modules", "modules_quickjs_bytecode", "modules_quickjs_version", "endpoints");
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
    apply() {
      clearTables("modules", "modules_quickjs_bytecode", "modules_quickjs_version", "endpoints");
      writeJson("interpreter.flush", true);
    },
  },

  refresh_js_app_bytecode_cache: { apply: () => ccf.refreshAppBytecodeCache() },

  set_js_runtime_options: {
    args: {
      max_heap_bytes: "integer",
      max_stack_bytes: "integer",
      max_execution_time_ms: "integer",
      log_exception_details: "boolean?",
      return_exception_details: "boolean?",
      max_cached_interpreters: "integer?",
    },
    check(args) {
      checkBounds(args.max_heap_bytes, 1, Number.MAX_SAFE_INTEGER, "max_heap_bytes");
      checkBounds(args.max_stack_bytes, 1, Number.MAX_SAFE_INTEGER, "max_stack_bytes");
      checkBounds(args.max_execution_time_ms, 0, Number.MAX_SAFE_INTEGER, "max_execution_time_ms");
      checkBounds(args.max_cached_interpreters, 0, Number.MAX_SAFE_INTEGER, "max_cached_interpreters");
    },
    apply(args) {
      writeJson("js_runtime_options", args);
    },
  },

  // Issuers of tokens, and the authorities their servers are known by.

  set_ca_cert_bundle: {
    args: { name: "string", cert_bundle: "string" },
    check({ cert_bundle }) {
      checkX509CertBundle(cert_bundle, "cert_bundle");
    },
    apply({ name, cert_bundle }) {
      writeJson("tls.ca_cert_bundles", cert_bundle, name);
    },
  },

  remove_ca_cert_bundle: removal("tls.ca_cert_bundles", "name"),

  set_jwt_issuer: {
    args: {
      issuer: "string",
      auto_refresh: "boolean?",
      ca_cert_bundle_name: "string?",
      jwks: "object?",
      key_filter: "string?", // earlier releases had more filters than the one that admits every key
    },
    check({ issuer, auto_refresh, ca_cert_bundle_name, jwks, key_filter }) {
      if (!isAbsent(jwks)) checkJwks(jwks, "jwks");
      if (!isAbsent(key_filter)) checkEnum(key_filter, ["all"], "key_filter");
      if (auto_refresh !== true) return;
      if (isAbsent(ca_cert_bundle_name)) throw new Error("auto_refresh needs a ca_cert_bundle_name");
      checkPattern(issuer, HTTPS_URL, "issuer", "an https:// URL without query or fragment, for auto_refresh");
    },
    apply({ jwks, ...metadata }) {
      const { issuer, auto_refresh, ca_cert_bundle_name } = metadata;
      if (auto_refresh === true && !hasKey("tls.ca_cert_bundles", ca_cert_bundle_name)) {
        throw new Error(`no CA certificate bundle has the name ${ca_cert_bundle_name}`);
      }
      if (!isAbsent(jwks)) ccf.setJwtPublicSigningKeys(issuer, metadata, jwks);
      writeJson("jwt.issuers", metadata, issuer);
    },
  },

  set_jwt_public_signing_keys: {
    args: { issuer: "string", jwks: "object" },
    check({ jwks }) {
      checkJwks(jwks, "jwks");
    },
    apply({ issuer, jwks }) {
      const metadata = readJson("jwt.issuers", issuer);
      if (metadata === undefined) throw new Error(`no issuer has the name ${issuer}`);
      ccf.setJwtPublicSigningKeys(issuer, metadata, jwks);
    },
  },

  remove_jwt_issuer: {
    args: { issuer: "string" },
    apply({ issuer }) {
      if (!hasKey("jwt.issuers", issuer)) return;
      removeKey("jwt.issuers", issuer);
      ccf.removeJwtPublicSigningKeys(issuer);
    },
  },

  // What may join.

  add_node_code: addition("nodes.code_ids", "code_id", NOT_EMPTY, "not empty"),
  remove_node_code: removal("nodes.code_ids", "code_id"),

  add_snp_measurement: addition("nodes.snp.measurements", "measurement", MEASUREMENT, "lower-case hexadecimal digits"),
  remove_snp_measurement: removal("nodes.snp.measurements", "measurement"),

  add_snp_host_data: {
    args: { host_data: "string", security_policy: "string" },
    check({ host_data, security_policy }) {
      checkPattern(host_data, DIGEST, "host_data", "64 lower-case hexadecimal digits");
      if (security_policy === "") return;
      const digest = toHex(ccf.crypto.digest("SHA-256", ccf.strToBuf(security_policy)));
      if (digest !== host_data) throw new Error(`host_data is not the SHA-256 of security_policy, ${digest}`);
    },
    apply({ host_data, security_policy }, proposalId) {
      writeJson("nodes.snp.host_data", security_policy, host_data);
      invalidateOtherOpenProposals(proposalId);
    },
  },

  remove_snp_host_data: removal("nodes.snp.host_data", "host_data"),

  add_snp_uvm_endorsement: {
    args: { did: "string", feed: "string", svn: "string" },
    apply({ did, feed, svn }, proposalId) {
      writeJson("nodes.snp.uvm_endorsements", { ...readJson("nodes.snp.uvm_endorsements", did), [feed]: { svn } }, did);
      invalidateOtherOpenProposals(proposalId);
    },
  },

  remove_snp_uvm_endorsement: {
    args: { did: "string", feed: "string" },
    apply({ did, feed }) {
      const { [feed]: _, ...others } = readJson("nodes.snp.uvm_endorsements", did) ?? {};
      if (Object.keys(others).length === 0) removeKey("nodes.snp.uvm_endorsements", did);
      else writeJson("nodes.snp.uvm_endorsements", others, did);
    },
  },

  set_snp_minimum_tcb_version: {
    args: { cpuid: "string", tcb_version: "object" },
    check(args) {
      checkCpuid(args);
      for (const name of ["boot_loader", "tee", "snp", "microcode"]) {
        checkType(args.tcb_version[name], "integer", `tcb_version.${name}`);
      }
      checkType(args.tcb_version.fmc, "integer?", "tcb_version.fmc");
    },
    apply({ cpuid, tcb_version }, proposalId) {
      writeJson("nodes.snp.tcb_versions", tcb_version, cpuid);
      invalidateOtherOpenProposals(proposalId);
    },
  },

  set_snp_minimum_tcb_version_hex: {
    args: { cpuid: "string", tcb_version: "string" },
    check(args) {
      checkCpuid(args);
      checkPattern(args.tcb_version, TCB_VERSION, "tcb_version", "16 lower-case hexadecimal digits");
    },
    apply({ cpuid, tcb_version }, proposalId) {
      writeJson("nodes.snp.tcb_versions", ccf.tcbHexToPolicy(cpuid, tcb_version), cpuid);
      invalidateOtherOpenProposals(proposalId);
    },
  },

  remove_snp_minimum_tcb_version: {
    args: { cpuid: "string" },
    check: checkCpuid,
    apply({ cpuid }) {
      if (!hasKey("nodes.snp.tcb_versions", cpuid)) throw new Error(`no minimum TCB version is set for CPUID ${cpuid}`);
      removeKey("nodes.snp.tcb_versions", cpuid);
    },
  },

  // Nodes.

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
      else writeJson("nodes.info", { ...info, status: "Retired" }, node_id);
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
};

const actions = new Map(Object.entries(definitions).map(([name, definition]) => [name, defineAction(definition)]));
