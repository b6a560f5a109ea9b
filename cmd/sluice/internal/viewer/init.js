// Names this page's document, and nothing outside of it.
window.ui = SwaggerUIBundle({
	url: "../openapi.json",
	dom_id: "#document",
	deepLinking: true,
	validatorUrl: null, // else it would send the document's address to swagger.io
	supportedSubmitMethods: [], // calls go to another origin
	defaultModelsExpandDepth: 0,
	onComplete: () => {
		document.title = window.ui.specSelectors.info().get("title");
	},
});
