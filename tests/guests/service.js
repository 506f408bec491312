// SPDX-License-Identifier: Apache-2.0
// A wasi:http component in JavaScript: answers with what it was asked, and at /fetch/HOST:PORT/PATH with another's answer.
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname } = new URL(request.url);
  if (pathname.startsWith("/fetch/")) {
    const other = await fetch("http://" + pathname.slice("/fetch/".length));
    return new Response(await other.text(), { status: other.status });
  }
  const body = request.method === "POST" ? await request.text() : "";
  return Response.json({ language: "JavaScript", method: request.method, path: pathname, body });
}
