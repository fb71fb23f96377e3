// Answers, failures, and the checks every endpoint makes of its input.

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;
const MAX_REFERENCE = 140;

/** Ends a request with a status and a stable code; nothing it wrote is kept. */
export class Failure extends Error {
  constructor(statusCode, code, message) {
    super(message);
    this.statusCode = statusCode;
    this.code = code;
  }
}

/** Makes an endpoint of a function that returns a body, or `{ statusCode, body }`. */
export function endpoint(run) {
  return (request) => {
    try {
      return run(request);
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      const { statusCode, code, message } = failure;
      return { statusCode, body: { error: { code, message } } };
    }
  };
}

export const ok = (body) => ({ statusCode: 200, body });
export const created = (body) => ({ statusCode: 201, body });

/** The body as an object. */
export function input(request) {
  let body;
  try {
    body = request.body.json();
  } catch {
    throw new Failure(400, "InvalidInput", "The body must be JSON");
  }
  if (body === null || typeof body !== "object" || Array.isArray(body)) {
    throw new Failure(400, "InvalidInput", "The body must be an object");
  }
  return body;
}

/** The name of an account. */
export function accountName(value, field = "account") {
  if (typeof value !== "string" || !NAME.test(value)) {
    throw new Failure(400, "InvalidInput", `${field} must be 1 to 63 lower-case letters, digits or hyphens`);
  }
  return value;
}

/** An amount in the smallest unit of the currency: a positive integer that a number holds exactly. */
export function amount(value) {
  if (!Number.isSafeInteger(value) || value <= 0) {
    throw new Failure(400, "InvalidInput", "amount must be a positive integer");
  }
  return value;
}

/** What the parties call a transfer; may be empty. */
export function reference(value = "") {
  if (typeof value !== "string" || value.length > MAX_REFERENCE) {
    throw new Failure(400, "InvalidInput", `reference must be a text of at most ${MAX_REFERENCE} characters`);
  }
  return value;
}

/** The number of a transfer, from a path or a query. */
export function transferNumber(text, field = "id") {
  if (!/^[1-9][0-9]{0,14}$/.test(text)) {
    throw new Failure(400, "InvalidInput", `${field} must be the number of a transfer`);
  }
  return Number(text);
}

/** The first value of a query parameter, undefined where there is none. */
export function queryParameter(request, name) {
  for (const pair of request.query.split("&")) {
    const [key, value = ""] = pair.split("=");
    if (key === name) return value;
  }
  return undefined;
}

/** The organisation a user acts for: `organisation` of its user data, else the user itself. */
export function organisationOf(request) {
  const { id, data } = request.caller;
  return typeof data?.organisation === "string" ? data.organisation : id;
}
