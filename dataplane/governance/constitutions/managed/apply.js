// The effect of an accepted proposal. A throw fails the whole proposal: nothing of it is kept.

export function apply(text, proposalId) {
  const proposed = JSON.parse(text).actions;
  for (const { name, args } of proposed) {
    const definition = actions.get(name);
    if (definition === undefined) throw new Error(`${name}: no such action`);
    definition.apply(args, proposalId);
  }
  if (proposed.some(({ name }) => name === "remove_node")) checkTrustedNodeRemains();
}

// A service without a trusted node can accept nothing any more, not even the proposal that would repair it.
function checkTrustedNodeRemains() {
  const remains = entries("nodes.info").some(([, info]) => info.status === "Trusted");
  if (!remains) throw new Error("this would remove the last trusted node");
}
