// Tells the caller who it is taken for, bytes as their text.
export function tell({ caller }) {
  return { body: described(caller) };
}

// Authorisation of the application's own, without any policy.
export function custom({ headers, caller }) {
  return { body: caller === null && headers.authorization === "Bearer 42" };
}

function described(caller) {
  const told = { ...caller };
  if (told.cose) told.cose = { content: ccf.bufToJsonCompatible(told.cose.content) };
  if (Array.isArray(told.policy)) for (const name of told.policy) told[name] = described(told[name]);
  return told;
}
