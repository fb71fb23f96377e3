// What may join a service of simulated nodes. Comes after the actions.

actions.set(
  "add_virtual_measurement",
  defineAction(addition("nodes.virtual.measurements", "measurement", NOT_EMPTY, "not empty")),
);
actions.set("remove_virtual_measurement", defineAction(removal("nodes.virtual.measurements", "measurement")));

actions.set(
  "add_virtual_host_data",
  defineAction({
    args: { host_data: "string" },
    check({ host_data }) {
      checkPattern(host_data, DIGEST, "host_data", "64 lower-case hexadecimal digits");
    },
    apply({ host_data }, proposalId) {
      table("nodes.virtual.host_data").set(ccf.strToBuf(host_data), getSingletonKvKey());
      invalidateOtherOpenProposals(proposalId);
    },
  }),
);
actions.set("remove_virtual_host_data", defineAction(removal("nodes.virtual.host_data", "host_data")));
