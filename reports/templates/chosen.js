"use strict";
// One implementation or kernel chosen: tables show its rows alone, charts draw the others faintly, and the address keeps it.
const chosen = { about: "", name: "", row: "" };
{
  const bar = document.getElementById("chosen");
  const part = (name) => document.getElementById(`chosen-${name}`);
  const ABOUT = ["implementation", "kernel"];
  const rowsOf = (about) => [...document.querySelectorAll(`tr[data-${about}]`)];
  let origin = null; // where the choice was made, and where the keyboard goes back to

  const show = () => {
    for (const about of ABOUT) {
      for (const row of rowsOf(about)) row.hidden = chosen.about === about && row.dataset[about] !== chosen.name;
      for (const select of document.querySelectorAll(`[data-chooses=${about}]`)) select.value = chosen.about === about ? chosen.name : "";
    }
    for (const table of document.querySelectorAll(".wide")) {
      table.toggleAttribute("data-none", table.querySelector("tbody tr") !== null && table.querySelector("tbody tr:not([hidden])") === null);
    }
    mark();
    bar.hidden = !chosen.about;
    if (chosen.about) {
      const rows = rowsOf(chosen.about);
      part("name").textContent = chosen.name;
      tell(rows.filter((row) => !row.hidden).length, rows.length);
      part("row").hidden = !chosen.row;
      part("row").href = `#${chosen.row}`;
    }
    turn();
    document.dispatchEvent(new Event("chosen"));
  };

  // Long tables have most of their rows packed.
  const turn = async () => {
    const { about, name } = chosen;
    for (const table of pages.tables) if (table.wanted.name !== name || table.wanted.about !== about) await table.find({ about, name });
    if (!about || !pages.tables.length) return;
    const short = rowsOf(about).filter((row) => !row.closest(".paged"));
    const long = await Promise.all(pages.tables.map((table) => table.count(about, name)));
    const sum = (key, start) => long.reduce((total, one) => total + one[key], start);
    if (chosen.name === name) tell(sum("shown", short.filter((row) => !row.hidden).length), sum("total", short.length));
  };
  const tell = (shown, total) => {
    part("count").textContent = `${shown.toLocaleString("en")} of ${total.toLocaleString("en")} rows`;
  };
  const mark = () => {
    document.querySelector("tr.marked")?.classList.remove("marked");
    document.getElementById(chosen.row)?.classList.add("marked");
  };
  document.addEventListener("paged", mark);

  const choose = (about, name, row = "") => {
    origin = document.activeElement;
    Object.assign(chosen, name ? { about, name, row } : { about: "", name: "", row: "" });
    const kept = name ? `#${new URLSearchParams({ [about]: name })}` : location.pathname + location.search;
    history.replaceState(null, "", kept);
    show();
    document.getElementById("announcer").textContent = name ? `Tables show ${name} only, ${part("count").textContent}` : "Tables show all rows";
  };
  chosen.choose = choose;

  const takeFromAddress = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    const about = ABOUT.find((each) => asked.has(each));
    const names = [...rowsOf(about).map((row) => row.dataset[about]), ...[...document.querySelectorAll(`[data-chooses=${about}] option`)].map((option) => option.value)];
    if (about && names.includes(asked.get(about))) choose(about, asked.get(about));
  };

  if (bar) {
    part("all").addEventListener("click", () => {
      const back = origin;
      choose("", "");
      back?.focus?.();
    });
    for (const select of document.querySelectorAll("[data-chooses]")) select.addEventListener("change", () => choose(select.dataset.chooses, select.value));
    addEventListener("hashchange", takeFromAddress);
    takeFromAddress();
  }
}
