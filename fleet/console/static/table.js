// A table of typed cells: what a cell is, `parts/cells.py` says. On narrow screens each row becomes a card.
export default {
  props: { columns: Array, rows: Array, caption: String },
  emits: ["act"],
  methods: {
    ago: (at) => window.outrider.ago(at),
    full: (at) => new Date(at * 1000).toLocaleString(),
    far(href) { return (href.startsWith("/") ? window.path_prefix || "" : "") + href; },
    blank: (cell) => !cell || (cell.text === "" && !cell.under) || cell.actions?.length === 0 || cell.labels?.length === 0,
    act(name, row) { this.$emit("act", { name, key: row.key }); },
  },
  template: `
    <div class="table-wrap"><table class="rows stacked">
      <caption class="sr">{{ caption }}</caption>
      <thead><tr><th v-for="c in columns" :key="c.name" scope="col" :class="c.kind">{{ c.title }}</th></tr></thead>
      <tbody><tr v-for="row in rows" :key="row.key">
        <td v-for="c in columns" :key="c.name" :data-name="c.title" :class="[c.kind, {'row-actions': row.cells[c.name]?.actions, blank: blank(row.cells[c.name])}]">
          <template v-for="cell in [row.cells[c.name] ?? {}]">
            <div v-if="cell.labels"><span v-for="l in cell.labels" :key="l" class="label" :title="l">{{ l }}</span></div>
            <span v-else-if="cell.chip !== undefined" class="chip" :class="cell.tone" :title="cell.title || null">{{ cell.chip }}</span>
            <time v-else-if="cell.at != null" :data-at="cell.at" :title="full(cell.at)">{{ ago(cell.at) }}</time>
            <code v-else-if="cell.code !== undefined" :title="cell.title || null">{{ cell.code }}</code>
            <template v-else-if="cell.actions"><button v-for="a in cell.actions" :key="a.name" type="button" class="button small"
              :class="{danger: a.danger}" :disabled="!!a.denied" :title="a.denied || null" @click="act(a.name, row)">{{ a.label }}</button></template>
            <div v-else><a v-if="cell.href" :href="far(cell.href)">{{ cell.text }}</a><span v-else :class="{quiet: cell.quiet}">{{ cell.text }}</span>
              <span v-if="cell.under" class="under">{{ cell.under }}</span></div>
          </template>
        </td></tr></tbody>
    </table></div>`,
};
