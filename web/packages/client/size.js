// How much a program grows by this package: minified by esbuild and compressed by gzip. It fails if that is more than size.json says.
// With --update it says so there.
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** What a transport with a carrier may add to a page at most, whatever size.json says. */
const most = 10_240;

const client = `
import { createClient } from "@connectrpc/connect";
import { fileDesc, serviceDesc } from "@bufbuild/protobuf/codegenv2";
const file = /*@__PURE__*/ fileDesc("Cgp0ZXN0LnByb3RvEgd0ZXN0LnYx");
const Service = /*@__PURE__*/ serviceDesc(file, 0);
`;

/** Connect's own gRPC-Web, with its client of fetch. */
const connectOwn = `${client}
import { createTransport } from "@connectrpc/connect/protocol-grpc-web";
import { readAllBytes, universalClientResponseFromFetch } from "@connectrpc/connect/protocol";
const httpClient = async ({ url, method, header, body }) =>
	universalClientResponseFromFetch(await fetch(url, { method, headers: header, body: await readAllBytes(body, 1e9) }));
globalThis.client = createClient(Service, createTransport({ baseUrl: "https://localhost", httpClient }));
`;

const sluice = (imports, options) => `${client}
import { createSluiceTransport } from "./src/connect.js";
${imports}
globalThis.client = createClient(Service, createSluiceTransport({ baseUrl: "https://localhost", ${options} }));
`;

const session = `import { connect } from "./src/session.js"; globalThis.session = connect({ baseUrl: "https://localhost" });`;

const named = (name, file) => [`import { ${name} } from "./src/${file}.js";`, `globalThis.used = ${name};`];

/**
 * sizeOf bundles a program. What it loads later with import() is left out unless later is true. The packages of others
 * are left out if peers is false.
 */
async function sizeOf(contents, { later = false, peers = true } = {}) {
	const leave = {
		name: "leave",
		setup(b) {
			b.onResolve({ filter: /./ }, ({ path, kind }) => {
				if (kind === "dynamic-import" && !later) return { path, external: true };
				if (!path.startsWith(".") && !peers) return { path, external: true };
				return undefined;
			});
		},
	};
	const { outputFiles } = await build({
		stdin: { contents, resolveDir: here("."), loader: "ts" },
		bundle: true,
		minify: true,
		write: false,
		format: "esm",
		target: "es2022",
		legalComments: "none",
		plugins: [leave],
	});
	return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

const carriers = {
	createWebSocket: "websocket",
	createWebTransport: "webtransport",
	createStreamingDuplex: "duplex-streaming",
	createDuplex: "duplex",
	createLongPoll: "long-poll",
};
const more = {
	"./protobuf-ts": ["createRpcTransport", "protobuf-ts"],
	"./nice-grpc-web": ["createNiceTransport", "nice-grpc-web"],
	"./grpc-web": ["createTransportFactory", "grpc-web"],
};

const whole = "createSluiceTransport with createWebSocket, more than Connect's own gRPC-Web";

/** measure returns bytes by what they are for. */
async function measure() {
	const base = await sizeOf(connectOwn);
	const transport = await sizeOf(sluice("", ""));
	const all = await sizeOf(sluice("", ""), { later: true });
	const sizes = {};
	for (const [name, file] of Object.entries(carriers)) {
		const with1 = await sizeOf(sluice(named(name, file)[0], `carriers: ${name}()`));
		if (name === "createWebSocket") sizes[whole] = with1 - base;
		sizes[`${name}, of that or in its place`] = with1 - transport;
	}
	sizes["createSluiceTransport without carriers, loaded with the page"] = transport - base;
	sizes["the carriers and their choice, loaded with its first call"] = all - transport;
	const alone = await sizeOf(session);
	sizes["connect, alone"] = alone;
	for (const [name, [what, file]] of Object.entries(more)) {
		const both = await sizeOf(session + named(what, file).join("\n"), { peers: false });
		sizes[`${name}, more than connect`] = both - alone;
	}
	return sizes;
}

const sizes = await measure();
const update = process.argv.includes("--update");
const limits = JSON.parse(await readFile(here("size.json"), "utf8").catch(() => "{}"));
const wrong = [];
for (const [what, bytes] of Object.entries(sizes)) {
	const limit = limits[what];
	console.log(`${String(bytes).padStart(6)} B  ${what}${limit === undefined ? "" : `; at most ${limit}`}`);
	if (limit === undefined || bytes > limit)
		wrong.push(`${what}: ${bytes} bytes, and size.json says ${limit === undefined ? "nothing" : `at most ${limit}`}`);
}
if (update) {
	// With some room for what is small, and for zlib, which is not the same everywhere.
	const rounded = Object.entries(sizes).map(([what, bytes]) => [
		what,
		Math.min(Math.ceil((bytes + 150) / 100) * 100, what === whole ? most : Number.POSITIVE_INFINITY),
	]);
	await writeFile(here("size.json"), `${JSON.stringify(Object.fromEntries(rounded), null, "\t")}\n`);
} else if (wrong.length > 0) {
	console.error(`\nThis has grown:\n  ${wrong.join("\n  ")}\nIf it is worth that: npm run size -- --update`);
	process.exitCode = 1;
}
if (sizes[whole] > most) {
	console.error(`\n${whole}: ${sizes[whole]} bytes, and never more than ${most}`);
	process.exitCode = 1;
}
