// Whether a proposal is Open, Accepted or Rejected.
//
// Members decide by strict majority of those who are Active and not the operator. The operator has no vote. Alone, and
// while it is an Active member, it may do what running the machines takes: the actions below, each under its own
// condition. Everything else it proposes waits for the members like any other proposal.

// Digest of the one application the operator may install by itself, filled in when this text is built; empty: none.
const SAMPLE_APP_DIGEST = "@SAMPLE_APP_DIGEST@";

const operatorMay = new Map(
  Object.entries({
    transition_service_to_open: needsNoMembers,
    transition_node_to_trusted: hasAcceptedEvidence,
    remove_node: always,
    set_node_certificate_validity: always,
    set_all_nodes_certificate_validity: always,
    set_service_certificate_validity: always,
    trigger_snapshot: always,
    trigger_ledger_chunk: always,
    set_js_app: isFirstInstallOfSample,
  }),
);

export function resolve(text, proposerId, votes) {
  const members = new Map(entries("members.info"));
  const proposed = JSON.parse(text).actions;
  if (isActiveOperator(members.get(proposerId)) && proposed.every(isForOperatorAlone)) return "Accepted";

  const voters = [...members.values()].filter(hasVote).length;
  const counted = votes.filter(({ member_id }) => hasVote(members.get(member_id)));
  const yes = counted.filter(({ vote }) => vote === true).length;
  const needed = Math.floor(voters / 2) + 1;
  if (yes >= needed) return "Accepted";
  const no = counted.length - yes;
  return voters > 0 && voters - no < needed ? "Rejected" : "Open";
}

function isOperator(info) {
  return info?.member_data?.is_operator === true;
}

function isActiveOperator(info) {
  return isOperator(info) && info.status === "Active";
}

function hasVote(info) {
  return info?.status === "Active" && !isOperator(info);
}

function isForOperatorAlone({ name, args }) {
  const condition = operatorMay.get(name);
  return condition !== undefined && condition(args ?? {});
}

function always() {
  return true;
}

// A service that is recovered by unsealing on its own platform comes back without shares, hence without members.
function needsNoMembers() {
  return isNewService() || (serviceInfo().status === "Recovering" && lastRecoveryType() === "LOCAL_UNSEALING");
}

function lastRecoveryType() {
  const value = ccf.kv["public:ccf.internal.last_recovery_type"].get(getSingletonKvKey());
  return value === undefined ? undefined : ccf.bufToJsonCompatible(value);
}

function isNewService() {
  return serviceInfo().status === "Opening";
}

// Evidence was checked when the node asked to join, but members may have withdrawn its measurement since. An id that is
// not known passes, so that the action fails by name instead of waiting for votes that cannot help.
function hasAcceptedEvidence({ node_id }) {
  const info = readJson("nodes.info", node_id);
  if (info === undefined || info.status !== "Pending") return true;
  if (info.quote_info.format !== "Insecure_Virtual") return false;
  const { measurement, host_data } = JSON.parse(ccf.bufToStr(fromBase64(info.quote_info.quote)));
  return hasKey("nodes.virtual.measurements", measurement) && hasKey("nodes.virtual.host_data", host_data);
}

function isFirstInstallOfSample({ bundle }) {
  if (SAMPLE_APP_DIGEST === "" || !isNewService()) return false;
  if (table("modules").size > 0) return false;
  const digest = ccf.crypto.digest("SHA-256", ccf.strToBuf(canonicalJson(bundle)));
  return toHex(digest) === SAMPLE_APP_DIGEST;
}

// Keys sorted and no white space, so that the digest does not depend on how a client lays out its JSON.
function canonicalJson(value) {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (!TYPES.object(value)) return JSON.stringify(value);
  const fields = Object.keys(value).sort();
  return `{${fields.map((name) => `${JSON.stringify(name)}:${canonicalJson(value[name])}`).join(",")}}`;
}

function fromBase64(text) {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const digits = text.replace(/=+$/, "");
  const bytes = new Uint8Array(Math.floor((digits.length * 6) / 8));
  let pending = 0;
  let bits = 0;
  let length = 0;
  for (const digit of digits) {
    pending = ((pending << 6) | alphabet.indexOf(digit)) & 0xffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes[length++] = (pending >> bits) & 0xff;
  }
  return bytes.buffer;
}
