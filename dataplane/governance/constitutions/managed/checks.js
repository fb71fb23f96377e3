// Checks of what a proposal says, before anybody votes on it. Each throws an Error that names the offending argument.

const CERTIFICATE_BLOCK = /^-----BEGIN CERTIFICATE-----[\s\S]+-----END CERTIFICATE-----\s*$/;
const PUBLIC_KEY_BLOCK = /^-----BEGIN PUBLIC KEY-----[\s\S]+-----END PUBLIC KEY-----\s*$/;
const HEX_DIGEST = /^[0-9a-f]{64}$/;
const HTTP_VERBS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];

const TYPES = {
  any: (value) => value !== undefined,
  array: Array.isArray,
  boolean: (value) => typeof value === "boolean",
  integer: Number.isSafeInteger,
  object: (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  string: (value) => typeof value === "string",
};

// An argument that may be left out, or be null.
function optional(type) {
  return { type, mayBeAbsent: true };
}

// `shape` maps the names of the arguments to names of types, or to what `optional` made of one.
function checkArguments(args, shape) {
  mustBe("object", args, "args");
  for (const name of Object.keys(args)) {
    if (!Object.hasOwn(shape, name)) throw new Error(`unknown argument ${name}`);
  }
  for (const [name, expected] of Object.entries(shape)) mustBe(expected, args[name], name);
}

function mustBe(expected, value, name) {
  const { type, mayBeAbsent } = typeof expected === "string" ? { type: expected, mayBeAbsent: false } : expected;
  if ((mayBeAbsent && isAbsent(value)) || TYPES[type](value)) return;
  throw new Error(`${name} must be of type ${type}`);
}

function isAbsent(value) {
  return value === undefined || value === null;
}

function checkOneOf(value, allowed, name) {
  if (!allowed.includes(value)) throw new Error(`${name} must be one of ${allowed.join(", ")}`);
}

function checkRange(value, low, high, name) {
  mustBe("integer", value, name);
  if (value < low || value > high) throw new Error(`${name} must be between ${low} and ${high}`);
}

function checkCertificate(text, name) {
  checkPattern(text, CERTIFICATE_BLOCK, name, "a PEM certificate");
  identityOf(text, name);
}

function checkPattern(text, pattern, name, what) {
  mustBe("string", text, name);
  if (!pattern.test(text)) throw new Error(`${name} must be ${what}`);
}

function identityOf(certificate, name) {
  try {
    return ccf.pemToId(certificate);
  } catch (error) {
    throw new Error(`${name} must be a PEM certificate: ${error.message}`);
  }
}

function checkValidity({ validity_period_days }) {
  if (!isAbsent(validity_period_days)) checkRange(validity_period_days, 1, 36500, "validity_period_days");
}

// An application bundle: {metadata: {endpoints: {path: {verb: endpoint}}}, modules: [{name, module}]}.
function checkBundle({ bundle }) {
  mustBe("object", bundle.metadata, "bundle.metadata");
  mustBe("object", bundle.metadata.endpoints, "bundle.metadata.endpoints");
  mustBe("array", bundle.modules, "bundle.modules");
  const names = checkModules(bundle.modules);
  for (const [path, verbs] of Object.entries(bundle.metadata.endpoints)) {
    if (!path.startsWith("/")) throw new Error(`endpoint path ${path} must begin with /`);
    mustBe("object", verbs, `endpoint ${path}`);
    for (const [verb, endpoint] of Object.entries(verbs)) checkEndpoint(`${verb} ${path}`, verb, endpoint, names);
  }
}

function checkModules(modules) {
  const names = new Set();
  modules.forEach((entry, index) => {
    mustBe("object", entry, `bundle.modules[${index}]`);
    mustBe("string", entry.name, `bundle.modules[${index}].name`);
    mustBe("string", entry.module, `bundle.modules[${index}].module`);
    const name = moduleKey(entry.name);
    if (name === "/") throw new Error(`bundle.modules[${index}].name must not be empty`);
    if (names.has(name)) throw new Error(`bundle.modules has ${entry.name} twice`);
    names.add(name);
  });
  return names;
}

function checkEndpoint(where, verb, endpoint, moduleNames) {
  checkOneOf(verb.toUpperCase(), HTTP_VERBS, `${where}: the verb`);
  mustBe("object", endpoint, where);
  for (const name of ["js_module", "js_function"]) checkPattern(endpoint[name], /./, `${where}: ${name}`, "not empty");
  checkOneOf(endpoint.mode, ["readwrite", "readonly", "historical"], `${where}: mode`);
  checkOneOf(endpoint.forwarding_required, ["sometimes", "always", "never"], `${where}: forwarding_required`);
  if (!isAbsent(endpoint.redirection_strategy)) {
    checkOneOf(endpoint.redirection_strategy, ["none", "to_primary", "to_backup"], `${where}: redirection_strategy`);
  }
  mustBe("array", endpoint.authn_policies, `${where}: authn_policies`);
  mustBe(optional("object"), endpoint.openapi, `${where}: openapi`);
  mustBe(optional("boolean"), endpoint.openapi_hidden, `${where}: openapi_hidden`);
  mustBe(optional("object"), endpoint.interpreter_reuse, `${where}: interpreter_reuse`);
  if (!isAbsent(endpoint.interpreter_reuse)) {
    mustBe("string", endpoint.interpreter_reuse.key, `${where}: interpreter_reuse.key`);
  }
  if (!moduleNames.has(moduleKey(endpoint.js_module))) {
    throw new Error(`${where}: js_module ${endpoint.js_module} is not in the bundle`);
  }
}
