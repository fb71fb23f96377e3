// A single no of an Active member rejects. Otherwise more than half of the Active members accept.

export function resolve(text, proposerId, votes) {
  const counted = votes.filter(({ member_id }) => isActiveMember(member_id));
  if (counted.some(({ vote }) => !vote)) return "Rejected";
  return counted.length > Math.floor(activeMembers().length / 2) ? "Accepted" : "Open";
}
