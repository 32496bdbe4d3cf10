"use strict";
// Everything is in the page without this script; it sorts the table, hides columns of it and shows one metric's plots.
for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
        const button = document.createElement("button");
        button.type = "button";
        button.append(...head.childNodes);
        head.append(button);
        button.addEventListener("click", () => {
            const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
            const rows = [...body.rows].map((row) => [row, value(row, column)]);
            rows.sort(([, a], [, b]) => {
                if (a === "" || b === "") return (a === "") - (b === ""); // what is missing comes last
                const numbers = a - b;
                return sign * (Number.isNaN(numbers) ? a.localeCompare(b) : numbers);
            });
            for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
            head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
            body.append(...rows.map(([row]) => row));
        });
    });
}
// Which columns the table shows: ends of intervals and the machine's times at first not.
for (const table of document.querySelectorAll("table.sortable")) {
    const box = document.createElement("details"), summary = document.createElement("summary");
    box.id = "columns";
    summary.textContent = "columns";
    box.append(summary);
    [...table.tHead.rows[0].cells].forEach((head, column) => {
        const label = document.createElement("label"), check = document.createElement("input");
        const show = () => {
            for (const row of table.rows) row.cells[column].hidden = !check.checked;
        };
        check.type = "checkbox";
        check.checked = !/_(low|high|seconds)$|^(seconds|model_calls)$/.test(head.textContent);
        check.addEventListener("change", show);
        label.append(check, " ", head.textContent);
        box.append(label);
        show();
    });
    table.parentElement.before(box);
}
const charts = [...document.querySelectorAll(".charts")];
if (charts.length > 1) {
    const label = document.createElement("label"), select = document.createElement("select");
    for (const chart of charts) select.add(new Option(chart.dataset.metric));
    const show = () => charts.forEach((chart, i) => (chart.hidden = i !== select.selectedIndex));
    select.addEventListener("change", show);
    label.append("metric ", select);
    charts[0].before(label);
    show();
}
