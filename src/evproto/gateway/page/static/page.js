// What is live on the page. All pieces come from the server, in which everything is escaped;
// nothing that a charger says is ever put together to markup here.
"use strict";
(() => {
  const ROWS = 200;
  const byId = (id) => document.getElementById(id);
  const [cards, rows, send, fields, result, go] = ["cards", "rows", "send", "fields", "result", "go"].map(byId);
  let mayCommand = document.body.dataset.mayCommand === "yes";

  // --- pieces of markup

  const piece = (html) => {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return holder.content.firstElementChild;
  };

  // Make one piece like another, in place: what is focused or being clicked stays.
  const morph = (old, made) => {
    if (old.nodeType !== made.nodeType || old.nodeName !== made.nodeName) return old.replaceWith(made);
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== made.data) old.data = made.data;
      return undefined;
    }
    for (const { name } of [...old.attributes]) if (!made.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of made.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const before = [...old.childNodes];
    const after = [...made.childNodes];
    after.forEach((node, index) => (index < before.length ? morph(before[index], node) : old.append(node)));
    before.slice(after.length).forEach((node) => node.remove());
    return undefined;
  };

  // --- times, in the reader's zone

  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  const age = (moment) => {
    const seconds = Math.max(0, Math.round((Date.now() - moment) / 1000));
    if (seconds < 5) return "now";
    if (seconds < 90) return `${seconds} s ago`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
    return seconds < 129600 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} d ago`;
  };
  const times = (where) => {
    for (const time of where.querySelectorAll("time")) {
      const moment = new Date(time.dateTime);
      const text = "age" in time.dataset ? age(moment) : clock.format(moment);
      if (time.textContent !== text) time.textContent = text;
    }
  };
  times(document);
  setInterval(() => times(cards), 1000);

  // --- what is live

  const live = byId("live");
  const pause = byId("pause");
  const leftOut = byId("left-out");
  let source = null;
  let held = [];
  let skipped = 0;

  const isLive = (yes) => {
    live.dataset.live = yes ? "yes" : "no";
    live.textContent = yes ? "live" : "not live, connecting";
  };

  const addRow = (html) => {
    const row = piece(html);
    if ([...rows.children].slice(0, 60).some((one) => one.dataset.id === row.dataset.id)) return;
    times(row);
    row.classList.add("fresh");
    rows.prepend(row);
    byId("quiet").hidden = true;
    while (rows.children.length > ROWS) rows.lastElementChild.remove();
  };

  const cardOf = (name) => [...cards.children].find((one) => one.dataset.charger === name);

  const connect = () => {
    if (source) source.close();
    const find = new FormData(byId("find"));
    const which = new FormData(byId("which"));
    const query = new URLSearchParams({
      q: find.get("q"), online: find.get("online") || "", after: cards.dataset.after,
      protocol: find.get("protocol") || "", of: which.get("of") || "",
      charger: which.get("charger"), name: which.get("name"), heartbeats: which.get("heartbeats") || "true",
      since: rows.firstElementChild ? rows.firstElementChild.dataset.id : "",
    });
    source = new EventSource(`/page/stream?${query}`);
    source.onopen = () => isLive(true);
    source.onerror = () => {
      isLive(false);
      // Refused for good: the browser gives up, this page does not.
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
    };
    source.addEventListener("frame", (event) => {
      if (pause.getAttribute("aria-pressed") === "true") held = [...held, event.data].slice(-ROWS);
      else addRow(event.data);
    });
    source.addEventListener("left_out", (event) => {
      skipped += Number(event.data);
      leftOut.hidden = false;
      leftOut.textContent = `${skipped} frames were left out: more than the page shows in a second.`;
    });
    source.addEventListener("charger", (event) => {
      const made = piece(event.data);
      times(made);
      const old = cardOf(made.dataset.charger);
      if (old) morph(old, made);
      else cards.append(made);
    });
    source.addEventListener("order", (event) => {
      const names = event.data.split("\n").filter((name) => name.trim());
      for (const card of [...cards.children]) if (!names.includes(card.dataset.charger)) card.remove();
      names.forEach((name, index) => {
        const card = cardOf(name);
        if (card && cards.children[index] !== card) cards.insertBefore(card, cards.children[index]);
      });
      byId("none").hidden = names.length > 0;
      byId("identities").replaceChildren(...names.map((name) => new Option(name, name)));
    });
    source.addEventListener("totals", (event) => morph(byId("totals"), piece(event.data)));
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) held.splice(0).forEach(addRow);
  });

  const filterLog = () => {
    rows.replaceChildren();
    held = [];
    byId("quiet").hidden = false;
    connect();
  };
  let patience;
  const soon = (what) => { clearTimeout(patience); patience = setTimeout(what, 300); };
  const which = byId("which");
  which.addEventListener("submit", (event) => { event.preventDefault(); filterLog(); });
  which.addEventListener("input", () => soon(filterLog));
  const find = byId("find");
  const findNow = () => { cards.dataset.after = ""; cards.replaceChildren(); connect(); };
  find.addEventListener("submit", (event) => { event.preventDefault(); findNow(); });
  find.addEventListener("input", () => soon(findNow));

  cards.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link) return;
    event.preventDefault();
    if (link.dataset.log) {
      which.elements.charger.value = link.dataset.log;
      filterLog();
      byId("log").scrollIntoView();
    } else if (link.dataset.to) {
      send.elements.to.value = link.dataset.to;
      showOptions().then(() => { if (!edited) showFields(); });
      byId("command").scrollIntoView({ block: "nearest" });
      send.elements.command.focus();
    }
  });

  // --- the token: in this tab only

  const token = byId("token");
  const stored = () => { try { return sessionStorage.getItem("token") || ""; } catch { return ""; } };
  let bearer = stored();
  const headers = () => (bearer ? { Authorization: `Bearer ${bearer}` } : {});

  const allow = (yes, text) => {
    mayCommand = yes;
    fields.disabled = !yes;
    token.hidden = yes;
    byId(yes ? "as" : "access").textContent = text;
    ready();
  };
  const useToken = async () => {
    const answer = await fetch("/page/caller", { headers: headers() }).catch(() => null);
    const caller = answer && answer.ok ? await answer.json() : null;
    try {
      if (caller) sessionStorage.setItem("token", bearer);
      else if (answer) sessionStorage.removeItem("token");
    } catch { /* It is kept in memory then. */ }
    if (caller && caller.may_command) return allow(true, `As ${caller.name}.`);
    if (!caller) bearer = "";
    return allow(false, caller ? `The token ${caller.name} may only read.`
      : answer ? "This token is not known here." : "The server cannot be reached.");
  };
  token.addEventListener("submit", (event) => {
    event.preventDefault();
    bearer = byId("token-text").value.trim();
    byId("token-text").value = "";
    if (bearer) useToken();
  });
  if (!mayCommand && bearer) useToken();

  // --- the form

  const ready = () => { go.disabled = !mayCommand || !send.elements.command.value; };

  const prepare = () => {
    for (const input of fields.querySelectorAll("input[data-moment]")) {
      if (!input.dataset.moment) continue;
      const moment = new Date(input.dataset.moment);
      const local = new Date(moment - moment.getTimezoneOffset() * 60000);
      input.value = local.toISOString().slice(0, 19);
    }
    ready();
  };
  let asked = 0;
  let shownFor = "";
  let edited = false;
  const showFields = async () => {
    const name = send.elements.command.value;
    const turn = ++asked;
    shownFor = send.elements.to.value;
    if (!name) { fields.replaceChildren(); return ready(); }
    const { collection } = send.elements.command.selectedOptions[0].dataset;
    const query = new URLSearchParams({ command: name, in: collection, to: send.elements.to.value.trim() });
    const answer = await fetch(`/page/form?${query}`, { headers: headers() }).catch(() => null);
    if (turn !== asked) return undefined;
    if (!answer || !answer.ok) return say("refused", "The fields cannot be had from the server.");
    const holder = document.createElement("template");
    holder.innerHTML = await answer.text();
    if (turn === asked) { fields.replaceChildren(holder.content); edited = false; prepare(); }
    return undefined;
  };
  // Where there are several protocols, a charger is offered the commands of its own.
  let offeredTo = send.elements.to.value;
  const showOptions = async () => {
    const select = send.elements.command;
    const to = send.elements.to.value.trim();
    if (!("several" in select.dataset) || to === offeredTo) return;
    offeredTo = to;
    const answer = await fetch(`/page/options?${new URLSearchParams({ to })}`, { headers: headers() }).catch(() => null);
    if (!answer || !answer.ok || to !== offeredTo) return;
    const holder = document.createElement("template");
    holder.innerHTML = await answer.text();
    const { value } = select;
    const collection = value && select.selectedOptions[0].dataset.collection;
    select.replaceChildren(holder.content);
    const same = [...select.options].filter((option) => option.value === value);
    const chosen = same.find((option) => option.dataset.collection === collection) || same[0];
    if (chosen) chosen.selected = true;
    if (value && !(chosen && chosen.dataset.collection === collection)) {
      // The charger has no such command, or another one of this name.
      edited = false;
      await showFields();
    }
  };

  send.elements.command.addEventListener("change", showFields);
  // What the fields begin with depends on the charger; what was typed stays.
  send.elements.to.addEventListener("change", async () => {
    await showOptions();
    if (send.elements.command.value && !edited && send.elements.to.value !== shownFor) showFields();
  });
  fields.addEventListener("input", (event) => {
    edited = true;
    if (event.target.tagName !== "TEXTAREA") return;
    event.target.setCustomValidity(event.target.value.trim() && parsed(event.target.value) === undefined ? "This is no JSON." : "");
  });

  fields.addEventListener("change", (event) => {
    const other = event.target.parentElement.querySelector("input.other");
    if (event.target.tagName !== "SELECT" || !other) return;
    other.hidden = other.disabled = event.target.value !== "other";
    other.required = !other.hidden;
  });
  fields.addEventListener("click", (event) => {
    const list = event.target.closest(".list");
    if (!list || !event.target.matches("button")) return;
    edited = true;
    const items = list.querySelector(":scope > .items");
    if (event.target.matches("[data-add]")) {
      if (!list.dataset.most || items.children.length < Number(list.dataset.most)) {
        items.append(list.querySelector(":scope > template").content.cloneNode(true));
      }
    } else if (event.target.matches("[data-remove]")) {
      event.target.closest(".item").remove();
    }
  });

  const entriesIn = (where) => [...where.children].flatMap((one) =>
    one.matches(".entry") ? [one] : one.matches(".inner") ? entriesIn(one) : []);

  // undefined: no JSON, or nothing
  const parsed = (text) => { try { return JSON.parse(text); } catch { return undefined; } };

  // undefined: left out
  const valueOf = (entry) => {
    const { kind } = entry.dataset;
    if (kind === "group") {
      const value = objectOf(entry);
      return "required" in entry.dataset || Object.keys(value).length ? value : undefined;
    }
    if (kind === "list") {
      const items = [...entry.querySelector(":scope > .items").children].map((item) => {
        const inner = entriesIn(item);
        return inner.length === 1 && !inner[0].dataset.field ? valueOf(inner[0]) : objectOf(item);
      });
      return "required" in entry.dataset || items.length ? items : undefined;
    }
    const input = entry.querySelector("select, input, textarea");
    if (kind === "json") return parsed(input.value);
    if (kind === "choice") return input.value === "" ? undefined : input.value;
    if (kind === "flag") return input.value === "" ? undefined : input.value === "true";
    if (kind === "code") {
      const text = input.value === "other" ? entry.querySelector("input.other").value : input.value;
      return text === "" ? undefined : Number(text);
    }
    if (kind === "text") return input.value === "" && !("needed" in input.dataset) ? undefined : input.value;
    if (input.value === "") return undefined;
    return kind === "number" ? Number(input.value) : new Date(input.value).toISOString();
  };
  const objectOf = (where) => Object.fromEntries(
    entriesIn(where).map((entry) => [entry.dataset.field, valueOf(entry)]).filter(([, value]) => value !== undefined));

  const mark = (path) => {
    for (const wrong of fields.querySelectorAll(".wrong")) wrong.classList.remove("wrong");
    let where = fields;
    let found = null;
    for (const [, name, index] of (path || "").matchAll(/([^.[\]]+)(?:\[(\d+)\])?/g)) {
      found = entriesIn(where).find((entry) => entry.dataset.field === name) || found;
      if (!found) return;
      where = index === undefined ? found : found.querySelector(":scope > .items").children[Number(index)] || found;
    }
    if (!found) return;
    found.classList.add("wrong");
    const input = found.querySelector("input, select, textarea");
    if (input) input.focus();
  };

  const say = (state, text) => {
    const line = document.createElement("p");
    const pill = document.createElement("span");
    pill.className = `pill ${state}`;
    pill.textContent = state;
    line.append(pill, ` ${text}`);
    result.replaceChildren(line);
  };
  const show = (html) => {
    const made = piece(html);
    times(made);
    result.replaceChildren(made);
  };

  // The same key until an answer has come: what is sent again is not done twice.
  let attempt = { what: "", key: "" };
  const keyFor = (what) => {
    if (attempt.what !== what) {
      const random = crypto.getRandomValues(new Uint8Array(16));
      attempt = { what, key: [...random].map((byte) => byte.toString(16).padStart(2, "0")).join("") };
    }
    return attempt.key;
  };

  const command = async () => {
    const option = send.elements.command.selectedOptions[0];
    const to = send.elements.to.value.trim();
    const url = `/${option.dataset.collection}/${encodeURIComponent(to)}/commands/${option.value}?wait=false`;
    const body = JSON.stringify(objectOf(fields));
    mark("");
    say("queued", `${option.textContent.trim()} to ${to}`);
    const taken = await fetch(url, {
      method: "POST",
      headers: { ...headers(), "Content-Type": "application/json", "Idempotency-Key": keyFor(url + body) },
      body,
    });
    const answer = await taken.json();
    attempt = { what: "", key: "" };
    if (!taken.ok) {
      mark(answer.path);
      return say("refused", `${answer.path ? `${answer.path}: ` : ""}${answer.detail}`);
    }
    for (let wait = 0; ; wait = 1) {
      const stands = await fetch(`/page/commands/${answer.id}?wait=${wait}`, { headers: headers() });
      if (!stands.ok) return say("refused", "How the command goes on cannot be seen.");
      show(await stands.text());
      if (stands.headers.get("X-Ended") === "1") return undefined;
    }
  };

  const submit = async () => {
    if (go.disabled || !send.reportValidity()) return;
    go.disabled = true;
    try {
      await command();
    } catch {
      say("refused", "The server cannot be reached; the charger may have been told. Sending the same again is safe.");
    } finally {
      ready();
    }
  };
  go.addEventListener("click", submit);
  send.addEventListener("submit", (event) => { event.preventDefault(); submit(); });

  prepare();
  connect();
})();
