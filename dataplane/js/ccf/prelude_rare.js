// The rarer half of `ccf`: built where a script first uses it, from what the prelude captured before any application code
// (node-api.md 5.8).
(function (host, exact, lazily, forEachRow, currentCall, intrinsics) {
  "use strict";
  const { Error, Object, Proxy, TypeError, apply, parse, split } = intrinsics;
  const cryptoNames =
    "sign verifySignature generateAesKey generateRsaKeyPair generateEcdsaKeyPair generateEddsaKeyPair wrapKey " +
    "unwrapKey pubPemToJwk pemToJwk pubRsaPemToJwk rsaPemToJwk pubEddsaPemToJwk eddsaPemToJwk pubJwkToPem jwkToPem " +
    "pubRsaJwkToPem rsaJwkToPem pubEddsaJwkToPem eddsaJwkToPem";

  function buildCrypto() {
    const crypto = {
      digest(algorithm, data) {
        exact(arguments, 2);
        return host($digest, algorithm, data);
      },
      isValidX509CertBundle(pem) {
        exact(arguments, 1);
        return host($is_valid_bundle, pem);
      },
      isValidX509CertChain(chain, trusted) {
        exact(arguments, 2);
        return host($is_valid_chain, chain, trusted);
      },
    };
    for (const name of apply(split, cryptoNames, [" "])) {
      crypto[name] = function () {
        return host($crypto, name, ...arguments);
      };
    }
    return crypto;
  }

  // Transactions of the past. Their numbers mean something during the request that was given them; number 0 of a
  // historical endpoint is always the one its present request is about, also for libraries that keep the object.
  function buildPast() {
    const numberOf = (state) => {
      if (state.id !== currentCall()) throw new Error("The request is over");
      return state.number;
    };
    class PastMap {
      #state;
      #name;
      constructor(state, name) {
        this.#state = state;
        this.#name = name;
      }
      has(key) {
        exact(arguments, 1);
        return host($past_has, numberOf(this.#state), this.#name, key);
      }
      get(key) {
        exact(arguments, 1);
        return host($past_get, numberOf(this.#state), this.#name, key);
      }
      getVersionOfPreviousWrite(key) {
        exact(arguments, 1);
        return host($past_version, numberOf(this.#state), this.#name, key);
      }
      forEach(callback) {
        exact(arguments, 1);
        if (typeof callback !== "function") throw new TypeError("Argument must be a function");
        forEachRow(host($past_each, numberOf(this.#state), this.#name), callback, this);
      }
      get size() {
        return host($past_size, numberOf(this.#state), this.#name);
      }
      set() {
        host($past_refuse, "set", this.#name);
      }
      delete() {
        host($past_refuse, "delete", this.#name);
      }
      clear() {
        host($past_refuse, "clear", this.#name);
      }
    }
    const kvOf = (state) =>
      new Proxy(Object.create(null), {
        get: (_, name) => (typeof name === "string" ? new PastMap(state, name) : undefined),
        set: () => false,
        defineProperty: () => false,
      });
    const receiptOf = (state) => parse(host($past_receipt, numberOf(state)));
    const states = (parts) => {
      const found = [];
      for (let i = 1; i < parts.length; i++) {
        const state = { id: currentCall(), number: +parts[0] + i - 1 };
        const shown = { transactionId: parts[i] };
        lazily(shown, "receipt", () => receiptOf(state));
        lazily(shown, "kv", () => kvOf(state));
        found[i - 1] = shown;
      }
      return found;
    };
    const presentState = {
      get id() {
        return currentCall();
      },
      number: 0,
    };
    const present = {
      get transactionId() {
        return host($past_txid, 0);
      },
      get receipt() {
        return receiptOf(presentState);
      },
      kv: kvOf(presentState),
    };
    return { present, states };
  }

  return { buildCrypto, buildPast };
});
