// Whether a proposal can be put to the vote: {valid, description}, where the description names every fault found.
// A text that is no JSON throws. Arguments and fields that nobody asks for are ignored.

export function validate(text) {
  const proposal = JSON.parse(text);
  const faults = faultsOf(proposal);
  return { valid: faults.length === 0, description: faults.join("\n") };
}

function faultsOf(proposal) {
  if (!TYPES.object(proposal) || !Array.isArray(proposal.actions)) {
    return ["the proposal must be an object with an array of actions"];
  }
  return proposal.actions.map(faultOf).filter((fault) => fault !== undefined);
}

function faultOf(action, index) {
  if (!TYPES.object(action) || typeof action.name !== "string") {
    return `action ${index}: must be an object with a name`;
  }
  const definition = actions.get(action.name);
  if (definition === undefined) return `${action.name}: no such action`;
  try {
    definition.validate(action.args);
  } catch (error) {
    return `${action.name} at position ${index} failed validation: ${error}\n${error?.stack ?? ""}`.trimEnd();
  }
  return undefined;
}
