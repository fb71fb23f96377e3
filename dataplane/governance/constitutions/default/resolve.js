// Accepted by a strict majority of the Active members; open until then. A ballot of somebody who is not an Active
// member any more counts for nothing.

export function resolve(text, proposerId, votes) {
  const yes = votes.filter(({ member_id, vote }) => vote && isActiveMember(member_id)).length;
  return yes > Math.floor(activeMembers().length / 2) ? "Accepted" : "Open";
}
