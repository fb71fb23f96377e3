// The JavaScript half of the host: the `ccf` global, `console`, `Math.random` and the way a request reaches its
// function (node-api.md 5.3 to 5.8). Compiled once, run in each new interpreter before any application code.
//
// `host(op, ...)` is the one native function; a dollar and a name stand for the index of an operation, replaced before
// compiling. Intrinsics are captured here, so that an application that changes its own does not change the host's.
// Everything rarely used is built on first access: a new interpreter should cost little.
(function (host) {
  "use strict";
  const { ArrayBuffer, Error, JSON, Object, Promise, Proxy, Reflect, String, Uint8Array } = globalThis;
  const { Uint32Array, TypeError } = globalThis;
  const errors = { Error, TypeError, RangeError, ReferenceError, SyntaxError, InternalError: globalThis.InternalError };
  const { apply } = Reflect;
  const { defineProperty } = Object;
  const { parse, stringify } = JSON;
  const { isView } = ArrayBuffer;
  const isInteger = Number.isInteger;
  const then = Promise.prototype.then;
  const slice = ArrayBuffer.prototype.slice;
  const toLowerCase = String.prototype.toLowerCase;
  const split = String.prototype.split;

  function exact(args, least, most = least) {
    if (args.length >= least && args.length <= most) return;
    const wanted = least === most ? least : `${least} to ${most}`;
    throw new TypeError(`Passed ${args.length} arguments, but expected ${wanted}`);
  }

  // Defines `name` so that `build` runs on first access; afterwards it is an ordinary property.
  function lazily(object, name, build) {
    const define = (value) =>
      defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true });
    defineProperty(object, name, {
      get: () => {
        const value = build();
        define(value);
        return value;
      },
      set: define,
      enumerable: true,
      configurable: true,
    });
  }

  function forEachRow(cursor, callback, map) {
    let page;
    while ((page = host($kv_page, cursor)) !== undefined) {
      const sizes = new Uint32Array(page, 0, 1 + 2 * new Uint32Array(page, 0, 1)[0]);
      let offset = 4 * sizes.length;
      for (let i = 1; i < sizes.length; i += 2) {
        const key = apply(slice, page, [offset, (offset += sizes[i])]);
        const value = apply(slice, page, [offset, (offset += sizes[i + 1])]);
        callback(value, key, map);
      }
    }
  }

  // ccf.kv: a handle names a table; what may be done with it is decided at each call, by the host.
  class KvMap {
    #table;
    constructor(name) {
      this.#table = host($kv_table, name);
    }
    has(key) {
      exact(arguments, 1);
      return host($kv_has, this.#table, key);
    }
    get(key) {
      exact(arguments, 1);
      return host($kv_get, this.#table, key);
    }
    getVersionOfPreviousWrite(key) {
      exact(arguments, 1);
      return host($kv_version, this.#table, key);
    }
    set(key, value) {
      exact(arguments, 2);
      host($kv_set, this.#table, key, value);
      return this;
    }
    delete(key) {
      exact(arguments, 1);
      return host($kv_delete, this.#table, key);
    }
    clear() {
      exact(arguments, 0);
      return host($kv_clear, this.#table);
    }
    forEach(callback) {
      exact(arguments, 1);
      if (typeof callback !== "function") throw new TypeError("Argument must be a function");
      forEachRow(host($kv_open, this.#table), callback, this);
    }
    get size() {
      return host($kv_size, this.#table);
    }
  }
  const handles = Object.create(null);
  const kv = new Proxy(Object.create(null), {
    get: (_, name) => {
      if (typeof name !== "string") return undefined;
      return handles[name] ?? (handles[name] = new KvMap(name));
    },
    set: () => false,
    defineProperty: () => false,
  });

  // Functions the host may or may not serve: they exist in every interpreter and say so when they are called.
  const native = (name) =>
    function () {
      return host($native, name, ...arguments);
    };
  const counted = (name, least, most = least) =>
    function () {
      exact(arguments, least, most);
      return host($native, name, ...arguments);
    };
  const countedOrNull = (name, least, most = least) =>
    function () {
      exact(arguments, least, most);
      return host($native, name, ...arguments) ?? null;
    };
  const aliases =
    "digest generateAesKey generateRsaKeyPair generateEcdsaKeyPair wrapKey unwrapKey isValidX509CertBundle " +
    "isValidX509CertChain";

  // Cryptography and transactions of the past are compiled apart, and run where a script first uses one of them: reading
  // their code would be a tenth of what a new interpreter costs.
  const intrinsics = { Error, Object, Proxy, TypeError, apply, parse, split };
  let rareParts;
  const rare = () => (rareParts ??= host($rare)(host, exact, lazily, forEachRow, () => current, intrinsics));
  let pastParts;
  const past = () => (pastParts ??= rare().buildPast());

  const ccf = {
    kv,
    strToBuf(text) {
      exact(arguments, 1);
      return host($str_to_buf, text);
    },
    bufToStr(buffer) {
      exact(arguments, 1);
      return host($buf_to_str, buffer);
    },
    jsonCompatibleToBuf(value) {
      exact(arguments, 1);
      const text = stringify(value);
      if (text === undefined) throw new TypeError("Argument has no JSON text");
      return host($str_to_buf, text);
    },
    bufToJsonCompatible(buffer) {
      exact(arguments, 1);
      return host($buf_to_json, buffer);
    },
    pemToId(pem) {
      exact(arguments, 1);
      return host($pem_to_id, pem);
    },
    enableUntrustedDateTime(enable) {
      exact(arguments, 1);
      return Boolean(enable);
    },
    enableMetricsLogging(enable) {
      exact(arguments, 1);
      return host($enable_metrics, enable);
    },
    rpc: {
      setApplyWrites(apply) {
        exact(arguments, 1);
        return host($set_apply_writes, apply);
      },
      setClaimsDigest(digest) {
        exact(arguments, 1);
        return host($set_claims_digest, digest);
      },
    },
    consensus: {
      getLastCommittedTxId: counted("consensus.getLastCommittedTxId", 0),
      getStatusForTxId: counted("consensus.getStatusForTxId", 2),
      getViewForSeqno: countedOrNull("consensus.getViewForSeqno", 1),
    },
    historical: {
      getStateRange(handle, start, end, expiry) {
        exact(arguments, 3, 4);
        const found = host($past_range, handle, start, end, expiry);
        return found === undefined ? null : past().states(apply(split, found, [" "]));
      },
      dropCachedStates(handle) {
        exact(arguments, 1);
        return host($past_drop, handle);
      },
    },
    get historicalState() {
      return host($past_current) ? past().present : undefined;
    },
    gov: { validateConstitution: counted("gov.validateConstitution", 1) },
  };
  lazily(ccf, "crypto", () => rare().buildCrypto());
  for (const name of apply(split, aliases, [" "])) {
    ccf[name] = function () {
      return apply(ccf.crypto[name], ccf.crypto, arguments);
    };
  }

  globalThis.ccf = ccf;
  lazily(globalThis, "snp_attestation", () => ({
    verifySnpAttestation(evidence, endorsements, uvmEndorsements, endorsedTcb) {
      exact(arguments, 2, 4);
      return host($verify_snp, evidence, endorsements, uvmEndorsements, endorsedTcb);
    },
  }));

  // Objects are shown as JSON, errors by their own text.
  function shown(value) {
    if (typeof value !== "object" || value === null || value instanceof Error) return String(value);
    try {
      return String(stringify(value));
    } catch {
      return "[no JSON text]";
    }
  }
  const log = (level) =>
    function () {
      let text = "";
      for (let i = 0; i < arguments.length; i++) text += (i ? " " : "") + shown(arguments[i]);
      host($log, level, text);
    };
  const buildConsole = () => ({ log: log("info"), info: log("info"), warn: log("warn"), error: log("error") });
  lazily(globalThis, "console", buildConsole);

  // System entropy, drawn for many numbers at a time: 53 bits each.
  let numbers = null;
  let next = 0;
  Math.random = () => {
    if (numbers === null || next === numbers.length) {
      numbers = new Uint32Array(host($random));
      next = 0;
    }
    const high = numbers[next++] >>> 5;
    const low = numbers[next++] >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  };

  // Requests: what is cheap is given at once, the rest when it is read. Headers and caller of a request that is over
  // are not answered; a body's functions always give the body of the request being served.
  let current = 0;

  function read(id, op) {
    if (id !== current) throw new Error("The request is over");
    return host(op);
  }

  function bodyText() {
    exact(arguments, 0);
    return host($request_text);
  }
  function bodyJson() {
    exact(arguments, 0);
    return host($request_json);
  }
  function bodyBuffer() {
    exact(arguments, 0);
    return host($request_buffer);
  }

  function makeRequest(text) {
    const id = ++current;
    const parts = parse(text);
    const path = parts[1];
    const query = parts[2];
    let headers, caller;
    return {
      method: parts[0],
      path,
      url: query === "" ? path : `${path}?${query}`,
      query,
      route: parts[3],
      hostname: parts[4],
      params: parts[5],
      get headers() {
        return (headers ??= parse(read(id, $request_headers)));
      },
      set headers(value) {
        headers = value;
      },
      get caller() {
        if (caller === undefined) caller = readCaller(id);
        return caller;
      },
      set caller(value) {
        caller = value;
      },
      body: { text: bodyText, json: bodyJson, arrayBuffer: bodyBuffer },
    };
  }

  function readCaller(id) {
    const found = read(id, $request_caller);
    return typeof found === "string" ? parse(found) : found;
  }

  // The answer to the host: `<status> <kind><headers as JSON>\n<body>`, kind one of n(one) j(son) t(ext); for bytes an
  // array of that first line and the buffer. `!<fault>` where the value is no response.
  function pack(response) {
    if (response === null || (typeof response !== "object" && typeof response !== "function")) return "!object";
    const { headers, body } = response;
    const statusCode = response.statusCode ?? 200;
    if (!isInteger(statusCode) || statusCode < 100 || statusCode > 599) return "!status";
    const first = typeof headers === "object" && headers !== null ? packHeaders(headers) : "";
    if (body === undefined) return `${statusCode} n${first}\n`;
    if (typeof body === "string") return `${statusCode} t${first}\n${body}`;
    if (typeof body === "object" && body !== null) {
      if (body instanceof ArrayBuffer) return [`${statusCode} b${first}`, body];
      if (isView(body)) return [`${statusCode} b${first}`, body instanceof DataView ? viewed(body) : body];
    }
    const text = stringify(body);
    if (text === undefined) throw new TypeError("The response body has no JSON text");
    return `${statusCode} j${first}\n${text}`;
  }

  function packHeaders(headers) {
    const result = {};
    for (const name of Object.keys(headers)) {
      const value = headers[name];
      defineProperty(result, apply(toLowerCase, name, []), { value: String(value), enumerable: true, configurable: true });
    }
    return stringify(result);
  }

  const viewed = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

  function dispatch(handler, text) {
    const response = handler(makeRequest(text));
    return response instanceof Promise ? apply(then, response, [pack]) : pack(response);
  }

  // Names such as "node.triggerSnapshot" below `ccf`.
  function install(names) {
    for (const name of apply(split, names, ["\n"])) {
      const path = apply(split, name, ["."]);
      let owner = ccf;
      for (let i = 0; i + 1 < path.length; i++) owner = owner[path[i]] ??= {};
      owner[path[path.length - 1]] ??= native(name);
    }
  }

  const makeError = (kind, message) => new errors[kind](message);

  return [dispatch, install, makeError];
});
