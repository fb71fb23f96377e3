// Whether a proposal can be put to the vote: {valid, description}, where the description names every fault found.
// What nobody reads is refused as well, for a voter may think that it has an effect.

export function validate(text) {
  const faults = faultsOf(text);
  return { valid: faults.length === 0, description: faults.join("\n") };
}

function faultsOf(text) {
  let proposal;
  try {
    proposal = JSON.parse(text);
  } catch (error) {
    return [`the proposal is not JSON: ${error.message}`];
  }
  if (!TYPES.object(proposal) || !Array.isArray(proposal.actions)) {
    return ["the proposal must be an object with an array of actions"];
  }
  if (proposal.actions.length === 0) return ["the proposal has no actions"];
  return proposal.actions.map(faultOf).filter((fault) => fault !== undefined);
}

function faultOf(action, index) {
  if (!TYPES.object(action) || typeof action.name !== "string") {
    return `action ${index}: must be an object with a name`;
  }
  const stray = Object.keys(action).find((field) => field !== "name" && field !== "args");
  if (stray !== undefined) return `${action.name} at position ${index}: unknown field ${stray}`;
  const definition = actions.get(action.name);
  if (definition === undefined) return `${action.name}: no such action`;
  try {
    checkNames(action.args ?? {}, definition.args);
    definition.validate(action.args);
  } catch (error) {
    return `${action.name} at position ${index} failed validation: ${error}`;
  }
  return undefined;
}

// An action that was added without a list of its arguments looks at them itself.
function checkNames(args, known) {
  checkType(args, "object", "args");
  if (known === undefined) return;
  const unknown = Object.keys(args).find((name) => !Object.hasOwn(known, name));
  if (unknown !== undefined) throw new Error(`unknown argument ${unknown}`);
}
