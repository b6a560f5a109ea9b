// The package as npm packs it: its files, its types in every mode of resolution, and the oldest peers.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import ts from "typescript";

const here = dirname(fileURLToPath(import.meta.url));
const modules = join(here, "../../node_modules");
const dir = mkdtempSync(join(tmpdir(), "sluice-pack-"));
after(() => rmSync(dir, { recursive: true }));

const [packed] = JSON.parse(
	execFileSync("npm", ["pack", "--json", "--silent", "--foreground-scripts=false", "--pack-destination", dir], {
		cwd: here,
		encoding: "utf8",
		stdio: ["ignore", "pipe", "ignore"],
	}),
);
const tarball = readFileSync(join(dir, packed.filename));
const manifest = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
const entries = Object.keys(manifest.exports).map((name) => name.slice(2));

test("it has what it needs, and nothing else", () => {
	const files = packed.files.map((f) => f.path);
	for (const wanted of ["LICENSE", "README.md", "package.json", ...entries.map((e) => `dist/${e || "index"}.js`)])
		assert.ok(files.includes(wanted), `${wanted} is not in ${files}`);
	for (const f of files) assert.match(f, /^(LICENSE|README\.md|package\.json|dist\/[\w-]+\.(d\.ts|js))$/);
	for (const f of files) assert.doesNotMatch(f, /test/);
});

test("are the types wrong? publint?", async () => {
	const { problems } = await checkPackage(createPackageFromTarballData(tarball));
	// It is ESM: CommonJS loads it with import(), or from Node 22 on with require.
	assert.deepEqual(
		problems.filter((p) => p.kind !== "CJSResolvesToESM"),
		[],
	);
	const bytes = tarball.buffer.slice(tarball.byteOffset, tarball.byteOffset + tarball.length);
	assert.deepEqual((await publint({ pack: { tarball: bytes } })).messages, []);
});

const peers = {
	oldest: { "@connectrpc/connect": "connect-oldest", "@bufbuild/protobuf": "protobuf-oldest" },
	newest: { "@connectrpc/connect": "@connectrpc/connect", "@bufbuild/protobuf": "@bufbuild/protobuf" },
};

/** consumer makes a project that has the package, and Connect-ES. */
function consumer(which) {
	const project = join(dir, which);
	const put = (name, from) => {
		const to = join(project, "node_modules", name);
		mkdirSync(dirname(to), { recursive: true });
		symlinkSync(join(modules, from), to);
	};
	for (const [name, from] of Object.entries(peers[which])) put(name, from);
	const client = join(project, "node_modules", "@sluice-rpc/client");
	mkdirSync(client, { recursive: true });
	execFileSync("tar", ["-xzf", join(dir, packed.filename), "-C", client, "--strip-components=1"]);
	writeFileSync(join(project, "package.json"), `{ "type": "module" }`);
	return project;
}

for (const which of Object.keys(peers)) {
	test(`the ${which} peers: the versions are those that the package names`, () => {
		for (const [name, from] of Object.entries(peers[which])) {
			const { version } = JSON.parse(readFileSync(join(modules, from, "package.json"), "utf8"));
			if (which === "oldest") assert.equal(manifest.peerDependencies[name], `^${version}`);
			else assert.match(version, /^2\./);
		}
	});

	test(`the ${which} peers: types`, () => {
		const project = consumer(which);
		const file = join(project, "main.ts");
		writeFileSync(
			file,
			`import type { Transport } from "@connectrpc/connect";
import { connect, createWebSocket } from "@sluice-rpc/client";
import { createSluiceTransport } from "@sluice-rpc/client/connect";
export const transport: Transport = createSluiceTransport({ baseUrl: "", carriers: createWebSocket() });
export const { state } = connect({ baseUrl: "" });\n`,
		);
		const program = ts.createProgram([file], {
			module: ts.ModuleKind.NodeNext,
			moduleResolution: ts.ModuleResolutionKind.NodeNext, // attw has seen the others
			noEmit: true,
			strict: true,
			skipLibCheck: true,
			preserveSymlinks: true,
			target: ts.ScriptTarget.ES2022,
			lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
			types: [],
		});
		const wrong = ts.getPreEmitDiagnostics(program).map((d) => ts.flattenDiagnosticMessageText(d.messageText, "\n"));
		assert.deepEqual(wrong, []);
	});
}

test("the oldest peers: calls", () => {
	const project = join(dir, "oldest");
	cpSync(join(here, "build"), join(project, "build"), { recursive: true });
	const args = ["--preserve-symlinks", "--preserve-symlinks-main", "build/connect.test.js"];
	const env = { ...process.env, NODE_TEST_CONTEXT: "" };
	const { status, stdout } = spawnSync(process.execPath, args, {
		cwd: project,
		env,
		encoding: "utf8",
		timeout: 60_000,
	});
	assert.equal(status, 0, stdout);
});
