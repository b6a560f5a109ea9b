import { defineConfig } from "vite";

// The package uses streams of Node, which pages don't have.
export default defineConfig({
	define: { global: "globalThis" },
	resolve: { alias: { buffer: "buffer/", events: "events/", stream: "stream-browserify" } },
});
