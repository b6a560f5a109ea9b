// node validate.js FILE...: what two validators say of OpenAPI documents, one line of JSON for
// each validator and file.
import { createConfig, lint } from "@redocly/openapi-core";
import { Validator } from "@seriousme/openapi-schema-validator";
import { readFileSync } from "node:fs";

const config = await createConfig({ extends: ["spec"] });

const validators = {
	redocly: async (file) => {
		const problems = await lint({ ref: file, config });
		return problems.map((p) => `${p.severity} ${p.ruleId}: ${p.message} at ${p.location[0]?.pointer ?? "?"}`);
	},
	seriousme: async (file) => {
		const result = await new Validator().validate(readFileSync(file, "utf8"));
		const errors = result.valid ? [] : Array.isArray(result.errors) ? result.errors : [result.errors];
		return errors.map((e) => (typeof e === "string" ? e : JSON.stringify(e)));
	},
};

for (const file of process.argv.slice(2)) {
	for (const [validator, validate] of Object.entries(validators)) {
		const errors = await validate(file);
		console.log(JSON.stringify({ file, validator, errors: errors.slice(0, 20), count: errors.length }));
	}
}
