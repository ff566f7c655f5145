"use strict";
// Keeps the page up to date with what /events sends: the new HTML of its parts.
(() => {
  const stale = document.getElementById("stale");
  const notice = document.getElementById("notice");
  const here = location.origin + location.pathname; // without a password that the address may have
  let source = null, last = new Date(), retry = 0;

  // patch makes have's children like want's. What is the same stays, and with it
  // the focus, a selection, and whether details are open.
  function patch(have, want) {
    let at = have.firstChild;
    for (const child of Array.from(want.childNodes)) {
      let match = at;
      if (child.id) {
        match = Array.from(have.children).find((c) => c.id === child.id) || null;
        if (match && match !== at) have.insertBefore(match, at);
      } else if (at && (at.nodeName !== child.nodeName || at.id)) {
        match = null;
      }
      if (!match) {
        have.insertBefore(child, at);
        continue;
      }
      at = match.nextSibling;
      if (match.nodeType !== Node.ELEMENT_NODE) {
        if (match.data !== child.data) match.data = child.data;
        continue;
      }
      for (const a of Array.from(match.attributes)) {
        if (!child.hasAttribute(a.name) && a.name !== "open" && a.name !== "disabled") match.removeAttribute(a.name);
      }
      for (const a of Array.from(child.attributes)) {
        if (match.getAttribute(a.name) !== a.value) match.setAttribute(a.name, a.value);
      }
      patch(match, child);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function show(parts) {
    for (const [id, html] of Object.entries(parts)) {
      if (id === "title") {
        document.title = html;
        continue;
      }
      const want = document.createElement("template");
      want.innerHTML = html;
      patch(document.getElementById(id), want.content);
    }
  }

  function say(element, text, bad) {
    element.textContent = text;
    element.className = "note " + (bad ? "bad" : "calm");
    element.hidden = text === "";
  }

  function listen() {
    clearTimeout(retry);
    if (source || document.hidden) return;
    source = new EventSource(new URL("events", here));
    source.onmessage = (e) => {
      last = new Date();
      if (!stale.hidden) say(stale, "", true);
      show(JSON.parse(e.data));
    };
    source.onerror = () => {
      say(stale, "The daemon does not answer. What you see is of " + last.toLocaleTimeString() + ".", true);
      if (source.readyState === EventSource.CLOSED) { // the browser has given up; we do not
        source = null;
        retry = setTimeout(listen, 5000);
      }
    };
  }

  document.addEventListener("visibilitychange", () => { // a hidden page needs no connection
    if (document.hidden && source) {
      source.close();
      source = null;
    }
    listen();
  });

  document.addEventListener("submit", async (e) => {
    e.preventDefault();
    const button = e.target.querySelector("button");
    if (button.disabled) return;
    button.disabled = true;
    try {
      const answer = await fetch(new URL(e.target.getAttribute("action"), here), { method: "POST", body: new URLSearchParams(new FormData(e.target)), headers: { Accept: "text/plain" } });
      say(notice, (await answer.text()).trim(), !answer.ok);
    } catch {
      say(notice, "The daemon does not answer.", true);
    }
    button.disabled = false;
  });

  listen();
})();
