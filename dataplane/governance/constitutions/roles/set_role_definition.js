// Which actions of an application a role may take: a set of names, replaced whole. Comes after the actions.

actions.set(
  "set_role_definition",
  defineAction({
    args: { role: "string", actions: "array" },
    check({ role, actions: names }) {
      checkPattern(role, NOT_EMPTY, "role", "not empty");
      names.forEach((name, index) => checkType(name, "string", `actions[${index}]`));
    },
    apply({ role, actions: names }) {
      const definition = ccf.kv[`public:programmability.roles.${role}`];
      definition.clear();
      for (const name of names) definition.set(ccf.jsonCompatibleToBuf(name), getSingletonKvKey());
    },
  }),
);
