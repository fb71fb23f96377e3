// A record by id in a private and a public table; with ?claim= the transaction attests the digest of its text.

const privateRecords = ccf.kv["records"];
const publicRecords = ccf.kv["public:records"];

function parameters(query) {
  return Object.fromEntries(query.split("&").map((pair) => pair.split("=")));
}

export function post(request) {
  const { id, claim } = parameters(request.query);
  const { secret, open } = request.body.json();
  privateRecords.set(ccf.strToBuf(id), ccf.strToBuf(secret));
  publicRecords.set(ccf.strToBuf(id), ccf.strToBuf(open));
  if (claim === "yes") ccf.rpc.setClaimsDigest(ccf.crypto.digest("SHA-256", ccf.strToBuf(open)));
  return { statusCode: 204 };
}

export function get(request) {
  const { id } = parameters(request.query);
  const secret = privateRecords.get(ccf.strToBuf(id));
  const open = publicRecords.get(ccf.strToBuf(id));
  if (secret === undefined) return { statusCode: 404 };
  return { body: { secret: ccf.bufToStr(secret), open: ccf.bufToStr(open) } };
}
