// Access to the governance tables, and the facts that more than one action asks for.

const UNIT = new ArrayBuffer(8);
const DEFAULT_MAXIMUM_DAYS = 365;

function table(name) {
  return ccf.kv[`public:ccf.gov.${name}`];
}

function readJson(name, key) {
  const value = table(name).get(key === undefined ? UNIT : ccf.strToBuf(key));
  return value === undefined ? undefined : ccf.bufToJsonCompatible(value);
}

function writeJson(name, value, key) {
  table(name).set(key === undefined ? UNIT : ccf.strToBuf(key), ccf.jsonCompatibleToBuf(value));
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
  const signature = ccf.kv["public:ccf.internal.signatures"].get(UNIT);
  if (signature === undefined) throw new Error("no signature transaction exists yet; propose again in a moment");
  return ccf.bufToJsonCompatible(signature).root;
}

function isRecoveryMember(memberId, info, role) {
  if (info.status !== "Active" || !hasKey("members.encryption_public_keys", memberId)) return false;
  return (info.recovery_role ?? "Participant") === role;
}

function countRecoveryMembers(members, role) {
  return members.filter(([memberId, info]) => isRecoveryMember(memberId, info, role)).length;
}

function sharesCanBeMade(participants, owners, threshold) {
  return participants > 0 ? participants >= threshold : owners > 0 && threshold === 1;
}

// Votes and evidence given before a change of this kind were given about another service.
function dropOtherOpenProposals(proposalId) {
  for (const [otherId, info] of entries("proposals_info")) {
    if (otherId === proposalId || info.state !== "Open") continue;
    writeJson("proposals_info", { ...info, state: "Dropped" }, otherId);
  }
}

function refreshSharesIfOpen() {
  if (serviceInfo().status === "Open") ccf.node.triggerRecoverySharesRefresh();
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
