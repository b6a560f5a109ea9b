// Light or dark: as the system has it, unless the switch says otherwise. It is remembered.

import { element } from "./dom.js";

const key = "sluice-demo-theme";

/** startTheme wires the switch. */
export function startTheme(): void {
	const inputs = element("theme").querySelectorAll("input");
	const apply = (theme: string) => {
		if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
		else delete document.documentElement.dataset.theme;
	};
	let kept: string | null = null;
	try {
		kept = localStorage.getItem(key);
	} catch {
		// the browser keeps nothing for this page
	}
	for (const input of inputs) {
		if (input.value === kept) {
			input.checked = true;
			apply(kept);
		}
		input.addEventListener("change", () => {
			apply(input.value);
			try {
				localStorage.setItem(key, input.value);
			} catch {
				// as above
			}
		});
	}
}
