// Members decide by strict majority; operators are not counted among them. An operator is a member without an
// encryption key whose data says `is_operator`. Alone, operators add and remove operators, and make the changes below.

// Names of the first releases, for services that still define actions so called.
const OPERATOR_ACTIONS = ["trust_node", "retire_node", "new_node_code"];

export function resolve(text, proposerId, votes) {
  const proposed = JSON.parse(text).actions;
  const yes = votes.filter(({ member_id, vote }) => vote && hasVote(member_id)).length;
  const voters = activeMembers().filter(([memberId]) => !isOperator(memberId)).length;
  if (yes > Math.floor(voters / 2)) return "Accepted";
  return isOperator(proposerId) && proposed.every(isForOperatorAlone) ? "Accepted" : "Open";
}

function isOperator(memberId) {
  return !hasEncryptionKey(memberId) && Boolean(readJson("members.info", memberId)?.member_data?.is_operator);
}

function hasVote(memberId) {
  return isActiveMember(memberId) && !isOperator(memberId);
}

function isForOperatorAlone({ name, args }) {
  if (name === "set_member") return isNewOperator(args);
  if (name === "remove_member") return isOperator(args?.member_id);
  return OPERATOR_ACTIONS.includes(name);
}

// Not somebody who is a member with a vote already, nor somebody who would have one.
function isNewOperator(args) {
  if (!args?.member_data?.is_operator || !isAbsent(args.encryption_pub_key)) return false;
  const memberId = ccf.pemToId(args.cert);
  return readJson("members.info", memberId) === undefined || isOperator(memberId);
}
