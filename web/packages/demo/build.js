// Makes the page that the command embeds: node build.js. With --check it only says whether what is committed is what
// would be made.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const check = process.argv.includes("--check");
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const made = await build({
	configFile: here("vite.config.js"),
	logLevel: check ? "warn" : "info",
	build: { write: !check },
});
if (check) {
	let stale = false;
	for (const { fileName, code, source } of made.output) {
		const want = Buffer.from(code ?? source);
		const path = here(`../../../cmd/sluice/internal/demo/page/${fileName}`);
		const have = await readFile(path).catch(() => undefined);
		if (have?.equals(want)) continue;
		console.error(`cmd/sluice/internal/demo/page/${fileName} is not what the sources make: npm --prefix web run build`);
		stale = true;
	}
	process.exitCode = stale ? 1 : 0;
}
