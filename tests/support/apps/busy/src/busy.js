// Scripts that hold up the node that runs them, and a value to read and write meanwhile.

const values = ccf.kv["public:values"];
const KEY = ccf.strToBuf("value");

export function read() {
  const value = values.get(KEY);
  return { body: value === undefined ? "" : ccf.bufToStr(value) };
}

export function write(request) {
  values.set(KEY, request.body.arrayBuffer());
  return { statusCode: 204 };
}

export function forever() {
  while (true) {}
}

// A built-in that never asks whether the time limit has passed; the query is how many steps it takes.
export function deaf(request) {
  Array.prototype.reverse.call({ length: Number(request.query) });
  return { statusCode: 204 };
}
