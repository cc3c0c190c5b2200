// The explorer: filters of the rows in ROWS, a bar per method, and the same numbers as a table.
"use strict";
(function () {
  const FILTERS = { device: "Device", workload: "Graph", width: "Features", dtype: "Type", mode: "Step",
                    cache: "Caches", threads: "Threads" };
  const START = { workload: "arxiv", width: "128", dtype: "float32", mode: "forward", cache: "warm", threads: "2" };
  const QUANTITIES = { median_ms: "median, ms", ratio_to_ours: "time / ours",
                       extra_memory_bytes: "extra memory, bytes" };
  const controls = document.getElementById("explorer-controls");
  if (!controls) return;
  const choice = {};

  function option(select, value, text) {
    const entry = document.createElement("option");
    entry.value = value;
    entry.textContent = text;
    select.append(entry);
  }

  function addSelect(name, title, values, start, text) {
    const box = document.createElement("label");
    const select = document.createElement("select");
    box.textContent = title;
    select.id = "filter-" + name;
    values.forEach((v) => option(select, v, text(v)));
    select.value = values.includes(start) ? start : values[0];
    choice[name] = select;
    select.addEventListener("change", show);
    box.append(select);
    controls.append(box);
  }

  const byNumber = (a, b) => (Number(a) - Number(b)) || String(a).localeCompare(String(b));
  for (const [name, title] of Object.entries(FILTERS)) {
    const values = [...new Set(ROWS.map((row) => row[name]))].sort(byNumber);
    addSelect(name, title, values, START[name], (v) => v);
  }
  addSelect("quantity", "Quantity", Object.keys(QUANTITIES), "median_ms", (v) => QUANTITIES[v]);

  function selected() {
    const quantity = choice.quantity.value;
    return ROWS.filter((row) => Object.keys(FILTERS).every((name) => row[name] === choice[name].value)
                                && row[quantity] !== undefined)
               .sort((a, b) => a[quantity] - b[quantity]);
  }

  function table(rows, quantity) {
    const place = document.getElementById("explorer-table");
    place.replaceChildren();
    if (!rows.length) {
      place.textContent = "No row was measured for this choice.";
      return;
    }
    const element = document.createElement("table");
    const heads = ["method", QUANTITIES[quantity], "20th to 80th percentile, ms", "commit", "torch"];
    const line = (cells, tag) => {
      const tr = element.insertRow();
      cells.forEach((text) => { const cell = document.createElement(tag); cell.textContent = text; tr.append(cell); });
    };
    line(heads, "th");
    rows.forEach((r) => line([r.method, String(r[quantity]), `${r.p20_ms} to ${r.p80_ms}`, r.commit, r.torch], "td"));
    place.append(element);
  }

  function show() {
    const quantity = choice.quantity.value;
    const rows = selected();
    const style = getComputedStyle(document.body);
    const ink = style.getPropertyValue("--md-default-fg-color") || "#333";
    const trace = { type: "bar", orientation: "h", x: rows.map((r) => r[quantity]), y: rows.map((r) => r.method),
                    marker: { color: rows.map((r) => (r.method.startsWith("sbp_kernels") ? "#2f5fd0" : "#9aa2b1")) } };
    if (quantity === "median_ms") {
      trace.error_x = { type: "data", symmetric: false, color: ink, array: rows.map((r) => r.p80_ms - r.median_ms),
                        arrayminus: rows.map((r) => r.median_ms - r.p20_ms) };
    }
    const layout = { margin: { l: 190, r: 20, t: 20, b: 50 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
                     font: { color: ink }, xaxis: { title: { text: QUANTITIES[quantity] }, rangemode: "tozero", gridcolor: "#80808050" },
                     yaxis: { automargin: true } };
    Plotly.react("explorer-figure", [trace], layout, { displayModeBar: false, responsive: true });
    table(rows, quantity);
  }
  new MutationObserver(show).observe(document.body, { attributes: true, attributeFilter: ["data-md-color-scheme"] });
  show();
})();
