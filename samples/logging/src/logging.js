// The smallest useful application: messages by id, in a private and in a public table.
// Every function is offered twice by app.json: with a kept interpreter, and below /fresh with a new one per request.

const privateRecords = ccf.kv["records"];
const publicRecords = ccf.kv["public:records"];

function failure(statusCode, code, message) {
  return { statusCode, body: { error: { code, message } } };
}

function idFrom(request) {
  const match = /(?:^|&)id=([0-9]+)(?:&|$)/.exec(request.query);
  return match === null ? null : match[1];
}

function read(records, request) {
  const id = idFrom(request);
  if (id === null) return failure(400, "InvalidQueryParameterValue", "The query parameter id must be a number");
  const record = records.get(ccf.strToBuf(id));
  if (record === undefined) return failure(404, "ResourceNotFound", `No record has the id ${id}`);
  return { body: { msg: ccf.bufToStr(record) } };
}

function write(records, request) {
  const id = idFrom(request);
  if (id === null) return failure(400, "InvalidQueryParameterValue", "The query parameter id must be a number");
  const { msg } = request.body.json();
  if (typeof msg !== "string" || msg.length === 0) return failure(400, "InvalidInput", "msg must be a text");
  records.set(ccf.strToBuf(id), ccf.strToBuf(msg));
  return { body: true };
}

function remove(records, request) {
  const id = idFrom(request);
  if (id === null) return failure(400, "InvalidQueryParameterValue", "The query parameter id must be a number");
  const key = ccf.strToBuf(id);
  const known = records.has(key);
  records.delete(key);
  return { body: known };
}

export const getPrivate = (request) => read(privateRecords, request);
export const postPrivate = (request) => write(privateRecords, request);
export const deletePrivate = (request) => remove(privateRecords, request);
export const getPublic = (request) => read(publicRecords, request);
export const postPublic = (request) => write(publicRecords, request);
export const deletePublic = (request) => remove(publicRecords, request);
export const countPrivate = () => ({ body: privateRecords.size });
export const countPublic = () => ({ body: publicRecords.size });
