// The effect of an accepted proposal. A throw fails the whole proposal: nothing of it is kept.

export function apply(text, proposalId) {
  for (const { name, args } of JSON.parse(text).actions) {
    const definition = actions.get(name);
    if (definition === undefined) throw new Error(`${name}: no such action`);
    definition.apply(args, proposalId);
  }
}
