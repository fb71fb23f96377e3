// Many keys in one transaction: POST {"first": n, "count": m}; how many there are: GET.

const records = ccf.kv["records"];

export function write(request) {
  const { first, count } = request.body.json();
  for (let number = first; number < first + count; number++) {
    records.set(ccf.strToBuf(`record ${number}`), ccf.strToBuf("m".repeat(60)));
  }
  return { statusCode: 204 };
}

export function read() {
  return { body: records.size };
}
