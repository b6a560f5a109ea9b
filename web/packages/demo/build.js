// Makes the page that the command embeds: node build.js. With --check it only says whether what is committed is what
// would be made.
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const out = "../../../cmd/sluice/internal/demo/page/";

const bundle = await build({
	absWorkingDir: here("."),
	entryPoints: ["src/main.ts"],
	alias: { "@sluice-rpc/client": here("../client/src/index.ts") },
	bundle: true,
	minify: true,
	write: false,
	format: "esm",
	target: "es2022",
	legalComments: "none",
});
const files = {
	"page.js": bundle.outputFiles[0].text,
	"page.css": await readFile(here("src/page.css"), "utf8"),
	"index.html": await readFile(here("src/index.html"), "utf8"),
};

let stale = false;
for (const [name, want] of Object.entries(files)) {
	const path = here(out + name);
	if (!process.argv.includes("--check")) {
		await writeFile(path, want);
	} else if ((await readFile(path, "utf8").catch(() => "")) !== want) {
		console.error(`cmd/sluice/internal/demo/page/${name} is not what the sources make: npm --prefix web run build`);
		stale = true;
	}
}
process.exit(stale ? 1 : 0);
