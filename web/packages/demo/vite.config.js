// npm run build makes the page that the command embeds; npm run dev serves it while it is worked on, in front of a
// `sluice demo` at :8080 or where SLUICE_DEMO says.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const gateway = process.env.SLUICE_DEMO ?? "http://localhost:8080";

export default defineConfig({
	root: here("src"),
	base: "./",
	// The client's sources, so that nothing has to be built before.
	resolve: {
		alias: [
			{ find: "@sluice-rpc/client/connect", replacement: here("../client/src/connect.ts") },
			{ find: "@sluice-rpc/client", replacement: here("../client/src/index.ts") },
		],
	},
	build: {
		outDir: here("../../../cmd/sluice/internal/demo/page"),
		emptyOutDir: true,
		modulePreload: false,
		target: ["chrome123", "firefox128", "safari17.5"], // the first that know light-dark()
		rolldownOptions: {
			output: { codeSplitting: false, entryFileNames: "page.js", assetFileNames: "page[extname]" },
		},
	},
	server: {
		proxy: Object.fromEntries(
			["/sluice", "/sluice.demo.v1.Demo", "/v1", "/.well-known"].map((path) => [
				path,
				{ target: gateway, ws: true, changeOrigin: true },
			]),
		),
	},
});
