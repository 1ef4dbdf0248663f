// The editor of a definition: line numbers, problems at their lines, keys, and a warning before changes are lost.
// Without this script the page works too: problems stand above the text and beside its lines below it.
"use strict";

(() => {
  const form = document.getElementById("editor-form");
  const area = form && form.querySelector("textarea[name=text]");
  if (!area) return;

  const LINE = 20; // pixels, as in admin.css
  const PAUSE = 900; // milliseconds without a key before the text is checked by itself
  const fresh = form.dataset.new === "1";
  const status = document.getElementById("editor-state");
  let stored = form.dataset.stored === "1" || fresh ? area.value : null; // what the server has; null: not this text
  let leaving = false;
  let waiting = 0;
  let asking = null;

  // ---- drawing ------------------------------------------------------------------------------------
  document.documentElement.classList.add("scripted");
  const editor = document.getElementById("editor");
  const gutter = element("div", "gutter");
  const numbers = element("div", "numbers");
  const bars = element("div", "bars");
  const pane = element("div", "pane");
  const marks = element("div", "marks");
  const sheet = element("div", "");
  for (const part of [gutter, marks]) part.setAttribute("aria-hidden", "true");
  gutter.append(numbers, bars);
  marks.append(sheet);
  editor.prepend(gutter);
  editor.append(pane);
  pane.append(marks, area);
  area.setAttribute("aria-describedby", "verdict");

  function element(name, kind) {
    const made = document.createElement(name);
    if (kind) made.className = kind;
    return made;
  }

  function problems() {
    const found = new Map();
    for (const item of document.querySelectorAll("#problems li[data-line]")) {
      const line = Number(item.dataset.line);
      const worst = item.classList.contains("error") ? "error" : "warning";
      const known = found.get(line);
      if (!known) found.set(line, { worst, texts: [item.dataset.text] });
      else {
        known.texts.push(item.dataset.text);
        if (worst === "error") known.worst = "error";
      }
    }
    return found;
  }

  function draw() {
    const lines = area.value.split("\n");
    const found = problems();
    numbers.textContent = lines.map((_, index) => index + 1).join("\n");
    bars.replaceChildren();
    sheet.replaceChildren();
    for (const [line, problem] of found) {
      const top = `${8 + (line - 1) * LINE}px`;
      const bar = element("div", `bar ${problem.worst}`);
      const mark = element("div", `mark ${problem.worst}`);
      const ghost = element("span", "ghost");
      const says = element("span", "says");
      ghost.textContent = lines[line - 1] || "";
      says.textContent = problem.texts.join(" ");
      bar.style.top = mark.style.top = top;
      mark.append(ghost, says);
      bars.append(bar);
      sheet.append(mark);
    }
    area.setAttribute("aria-invalid", String([...found.values()].some((problem) => problem.worst === "error")));
    editor.classList.remove("stale");
    follow();
  }

  function follow() {
    sheet.style.transform = `translate(${-area.scrollLeft}px, ${-area.scrollTop}px)`;
    numbers.style.transform = bars.style.transform = `translateY(${-area.scrollTop}px)`;
  }

  function tell(text, kind) {
    status.textContent = text;
    status.className = `editor-state ${kind || ""}`;
  }

  const changed = () => stored === null || area.value !== stored;
  const standing = () => (changed() && !fresh ? tell("Unsaved changes", "unsaved") : tell(""));

  // ---- going to a line -------------------------------------------------------------------------------
  function go(line) {
    const lines = area.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
    area.focus();
    area.setSelectionRange(start, start + (lines[line - 1] || "").length);
    area.scrollTop = Math.max(0, (line - 1) * LINE - area.clientHeight / 3);
    area.scrollLeft = 0;
    follow();
  }

  function next(backwards) {
    const lines = [...problems().keys()].sort((a, b) => a - b);
    if (!lines.length) return;
    const here = area.value.slice(0, area.selectionStart).split("\n").length;
    const found = backwards ? lines.filter((line) => line < here).pop() : lines.find((line) => line > here);
    go(found === undefined ? lines[backwards ? lines.length - 1 : 0] : found);
  }

  document.addEventListener("click", (event) => {
    const item = event.target.closest("#problems a");
    if (!item) return;
    event.preventDefault();
    go(Number(item.closest("li").dataset.line));
  });

  // ---- saving and checking without losing the place -----------------------------------------------------
  async function ask(act, quietly) {
    clearTimeout(waiting);
    if (asking) asking.abort();
    asking = new AbortController();
    const sent = area.value;
    const data = new FormData(form);
    data.set("act", act);
    if (!quietly) tell(act === "save" ? "Saving…" : "Checking…");
    let page;
    try {
      const answer = await fetch(form.action, { method: "POST", body: data, signal: asking.signal });
      const html = await answer.text();
      if (!html.includes('id="verdict"')) throw new Error(String(answer.status)); // signed out, or an error's page
      page = new DOMParser().parseFromString(html, "text/html");
      if (act === "save" && answer.redirected) take(page, sent);
    } catch (error) {
      if (error.name === "AbortError" || quietly) return;
      tell("The server did not take it. Your text is still here: sign in again in another tab, or try later.", "bad");
      return;
    }
    replace(page, "verdict");
    draw();
    standing();
    if (!quietly) announce(act);
  }

  // What is shown of a stored draft; the text stays as it is, with its cursor and its undo.
  function take(page, sent) {
    stored = sent;
    for (const id of ["head", "facts", "aside"]) replace(page, id);
    form.elements.revision.value = page.querySelector("input[name=revision]").value;
    document.title = page.title;
  }

  function replace(page, id) {
    const mine = document.getElementById(id);
    const theirs = page.getElementById(id);
    if (mine && theirs) mine.replaceWith(document.importNode(theirs, true));
  }

  function announce(act) {
    const first = document.querySelector("#problems a");
    if (act === "validate" && first) first.focus();
    else if (document.querySelector("#verdict .errornote")) document.getElementById("verdict").scrollIntoView({ block: "nearest" });
  }

  form.addEventListener("submit", (event) => {
    const act = event.submitter ? event.submitter.value : "save";
    if (act === "validate" || (act === "save" && !fresh)) {
      event.preventDefault();
      ask(act, false);
      return;
    }
    const lost = (act === "pause" || act === "resume") && changed();
    if (lost && !window.confirm("Your unsaved changes are not kept by this. Go on?")) {
      event.preventDefault();
      return;
    }
    leaving = true;
  });

  window.addEventListener("beforeunload", (event) => {
    if (!leaving && changed()) event.preventDefault();
  });
  window.addEventListener("pageshow", () => {
    leaving = false;
  });

  // ---- keys ------------------------------------------------------------------------------------------------
  function press(act) {
    form.requestSubmit(form.querySelector(`button[value=${act}]`));
  }

  document.addEventListener("keydown", (event) => {
    const control = event.ctrlKey || event.metaKey;
    if (control && !event.altKey && event.key.toLowerCase() === "s") {
      event.preventDefault();
      press("save");
    } else if (control && event.key === "Enter") {
      event.preventDefault();
      press("validate");
    } else if (event.key === "F8") {
      event.preventDefault();
      next(event.shiftKey);
    }
  });

  // A new line begins where the one above does. `insertText` keeps the browser's own undo.
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.ctrlKey || event.metaKey || event.shiftKey || event.isComposing) return;
    const above = area.value.slice(0, area.selectionStart).split("\n").pop();
    const indent = /^ *(?:- )?/.exec(above)[0].replace("-", " ");
    if (indent.length && document.execCommand("insertText", false, `\n${indent}`)) event.preventDefault();
  });

  area.addEventListener("input", () => {
    numbers.textContent = area.value.split("\n").map((_, index) => index + 1).join("\n");
    editor.classList.add("stale");
    standing();
    clearTimeout(waiting);
    waiting = setTimeout(() => ask("validate", true), PAUSE);
  });
  area.addEventListener("scroll", follow);

  draw();
  standing();
  const first = document.querySelector("#problems a[autofocus]");
  if (first) first.focus();
})();
