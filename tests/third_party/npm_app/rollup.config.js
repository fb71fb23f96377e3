import { nodeResolve } from "@rollup/plugin-node-resolve";
import typescript from "@rollup/plugin-typescript";

// Every module stays a file, those of the package below node_modules.
export default {
  input: "src/app.ts",
  output: { dir: "built/rollup/src", format: "es", preserveModules: true, preserveModulesRoot: "src", sourcemap: "inline", sourcemapExcludeSources: true },
  plugins: [nodeResolve(), typescript({ tsconfig: "./tsconfig.json" })],
};
