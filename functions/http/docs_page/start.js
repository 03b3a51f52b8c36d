// A file of its own: the page's content security policy allows no inline script.
window.SwaggerUIBundle({
  url: "/api/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  // The validator would be asked on the internet.
  validatorUrl: null,
});
