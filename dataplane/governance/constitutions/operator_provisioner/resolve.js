// Members decide by strict majority; neither operators nor operator provisioners are counted among them. A provisioner
// adds and removes operators alone, and whatever else it proposes is rejected. Both are members without an encryption
// key, told by `is_operator` and `is_operator_provisioner` in their data.

export function resolve(text, proposerId, votes) {
  const proposed = JSON.parse(text).actions;
  if (hasDuty(proposerId, "is_operator_provisioner")) {
    return proposed.every(isForProvisionerAlone) ? "Accepted" : "Rejected";
  }
  const yes = votes.filter(({ member_id, vote }) => vote && isActiveMember(member_id) && hasVote(member_id)).length;
  const voters = activeMembers().filter(([memberId]) => hasVote(memberId)).length;
  return yes > Math.floor(voters / 2) ? "Accepted" : "Open";
}

function hasDuty(memberId, duty) {
  return !hasEncryptionKey(memberId) && Boolean(readJson("members.info", memberId)?.member_data?.[duty]);
}

function hasVote(memberId) {
  return !hasDuty(memberId, "is_operator") && !hasDuty(memberId, "is_operator_provisioner");
}

function isForProvisionerAlone({ name, args }) {
  if (name === "set_member") return isNewOperator(args);
  return name === "remove_member" && hasDuty(args?.member_id, "is_operator");
}

// Not somebody who is a member with a vote already, nor somebody who would have one.
function isNewOperator(args) {
  if (!args?.member_data?.is_operator || !isAbsent(args.encryption_pub_key)) return false;
  const memberId = ccf.pemToId(args.cert);
  return readJson("members.info", memberId) === undefined || hasDuty(memberId, "is_operator");
}
