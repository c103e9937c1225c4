"use strict";
// Long tables a page at a time, with a search. Their rows lie packed beside the first ones, as a list of their HTML, which the
// templates wrote and escaped; they are unpacked when they are first asked for.
const pages = { tables: [] };
{
  const SIZE = 100;
  const ENTITIES = { "&lt;": "<", "&gt;": ">", "&#34;": '"', "&#39;": "'", "&amp;": "&" };
  const decoded = (text) => text.replace(/&(?:lt|gt|#34|#39|amp);/g, (entity) => ENTITIES[entity]);
  const attribute = (html, name) => decoded(html.match(new RegExp(`^\\s*<tr[^>]* ${name}="([^"]*)"`))?.[1] ?? "");
  const made = (name, properties, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  class LongTable {
    constructor(body) {
      this.body = body;
      this.total = Number(body.dataset.rows);
      this.wanted = { text: "", about: "", name: "" };
      this.page = 0;
      this.around = body.closest(".wide") ?? body.parentElement;
      body.parentElement.querySelector("tfoot.rest")?.remove();
      this.around.before(this.controls());
      this.tell(this.total);
    }

    controls() {
      const label = this.around.getAttribute("aria-label") ?? "Rows";
      this.search = made("input", { type: "search", placeholder: "any words of a row", autocomplete: "off", spellcheck: false });
      this.before = made("button", { type: "button", className: "plain", textContent: "Previous" });
      this.after = made("button", { type: "button", className: "plain", textContent: "Next" });
      this.told = made("output", {});
      this.told.setAttribute("aria-live", "polite");
      this.search.addEventListener("input", () => this.find({ text: this.search.value }));
      this.before.addEventListener("click", () => this.show(this.page - 1));
      this.after.addEventListener("click", () => this.show(this.page + 1));
      const group = made("div", { className: "pages" }, made("label", {}, made("span", { textContent: "Search" }), this.search), this.told, this.before, this.after);
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", `Pages of: ${label}`);
      return group;
    }

    // Every row: its HTML, and in lower case what a reader sees of it.
    rows() {
      this.unpacked ??= inflated(this.body.nextElementSibling.textContent)
        .json()
        .then((rows) => rows.map((html) => ({ html, text: decoded(html.replace(/<[^>]*>/g, " ")).toLowerCase() })));
      return this.unpacked;
    }

    async matching() {
      const words = this.wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
      const { about, name } = this.wanted;
      const whose = about && ((row) => attribute(row.html, `data-${about}`));
      return (await this.rows()).filter(
        (row) => words.every((word) => row.text.includes(word)) && (!about || whose(row) === "" || whose(row) === name),
      );
    }

    async find(wanted) {
      Object.assign(this.wanted, wanted);
      await this.show(0);
    }

    async show(page) {
      const rows = await this.matching();
      this.page = Math.max(0, Math.min(page, Math.ceil(rows.length / SIZE) - 1));
      this.body.innerHTML = rows.slice(this.page * SIZE, (this.page + 1) * SIZE).map((row) => row.html).join("");
      this.tell(rows.length);
      this.body.dispatchEvent(new Event("paged", { bubbles: true })); // for whoever marks rows
    }

    tell(found) {
      const [first, last] = [this.page * SIZE + 1, Math.min((this.page + 1) * SIZE, found)];
      const count = (number) => number.toLocaleString("en");
      const of = found === this.total ? count(found) : `${count(found)} found among ${count(this.total)}`;
      this.told.textContent = found ? `Rows ${count(first)} – ${count(last)} of ${of}` : `No row of ${count(this.total)} matches`;
      this.before.disabled = this.page === 0;
      this.after.disabled = last >= found;
    }

    // Whether it has this row; if so, the page with it is shown.
    async reveal(id) {
      const at = (await this.matching()).findIndex((row) => attribute(row.html, "id") === id);
      if (at >= 0) await this.show(Math.floor(at / SIZE));
      return at >= 0;
    }

    // How many rows are about something of a kind, and how many of them about this one.
    async count(about, name) {
      const names = (await this.rows()).map((row) => attribute(row.html, `data-${about}`)).filter(Boolean);
      return { shown: names.filter((each) => each === name).length, total: names.length };
    }
  }

  if ("DecompressionStream" in window) pages.tables = [...document.querySelectorAll("tbody.paged")].map((body) => new LongTable(body));

  // The element of this id, once the page of a long table that has it is shown.
  pages.revealed = async (id) => {
    for (const table of pages.tables) {
      if (document.getElementById(id)) break;
      await table.reveal(id);
    }
    return document.getElementById(id);
  };
}
