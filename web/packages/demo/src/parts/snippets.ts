// The code of each part, as snippets.ts has it.

import { make } from "../dom.js";
import source from "../snippets.ts?raw";

/** startSnippets shows them. */
export function startSnippets(): void {
	for (const [, name, body = ""] of source.matchAll(/^export async function (\w+).* \{\n([^]*?)\n\}/gm)) {
		const lines = body.replace(/^\t/gm, "").replaceAll("\t", "  ");
		document.querySelector(`.${name} .about`)?.after(make("pre", "snippet", make("code", "", lines)));
	}
}
