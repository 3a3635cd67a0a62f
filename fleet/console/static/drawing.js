// Points on a picture, drawn with mouse, touch or keyboard. All coordinates are pixels of the camera's full frame.
const NEAR_PX = 12;
const copy = (points) => points.map(([x, y]) => [x, y]);

export default {
  props: { picture: String, width: Number, height: Number, shapes: Array, readonly: Boolean },
  emits: ["drawn"],
  data: () => ({ own: {}, here: "", drawing: false, drag: null, at: null, stageWidth: 1 }),
  watch: {
    shapes: { immediate: true, handler() {
      if (this.drag) return;
      this.own = Object.fromEntries(this.shapes.map((s) => [s.key, copy(s.points)]));
      if (!this.shapes.some((s) => s.key === this.here)) this.here = this.shapes[0]?.key ?? "";
      if (!this.drawing) this.drawing = this.incomplete;
    } },
  },
  computed: {
    unit() { return this.width / this.stageWidth; },
    shape() { return this.shapes.find((s) => s.key === this.here); },
    points() { return this.own[this.here] ?? []; },
    incomplete() { return !!this.shape && this.points.length < this.shape.least; },
    full() { return this.points.length >= (this.shape?.most ?? 0); },
    middles() {
      if (this.drawing || this.full) return [];
      const last = this.shape?.kind === "polygon" ? this.points.length : this.points.length - 1;
      return this.points.slice(0, last).map(([x, y], i) => {
        const [x2, y2] = this.points[(i + 1) % this.points.length];
        return [(x + x2) / 2, (y + y2) / 2];
      });
    },
    hint() {
      if (!this.shape) return "This workflow has no line or zone to draw.";
      if (!this.drawing) return "Drag points to move them; arrow keys move the one that has the focus, Shift moves by ten.";
      if (this.shape.kind === "line") return "Press at one end, drag to the other.";
      return "Click the corners, then the first one again, or press Enter.";
    },
  },
  mounted() {
    this.observer = new ResizeObserver(() => { this.stageWidth = Math.max(1, this.$refs.stage?.clientWidth ?? 1); });
    this.observer.observe(this.$refs.stage);
  },
  beforeUnmount() { this.observer.disconnect(); },
  methods: {
    choose(key) { this.here = key; this.drawing = this.incomplete; this.drag = null; },
    anew() { this.own[this.here] = []; this.drawing = true; this.at = null; },
    place(event) {
      const box = this.$refs.stage.getBoundingClientRect();
      const clamp = (value, most) => Math.round(Math.min(Math.max(value, 0), most));
      return [
        clamp(((event.clientX - box.left) / box.width) * this.width, this.width),
        clamp(((event.clientY - box.top) / box.height) * this.height, this.height),
      ];
    },
    near([x, y], [x2, y2]) { return Math.hypot(x - x2, y - y2) < NEAR_PX * this.unit; },
    press(event) {
      if (this.readonly || !this.shape || event.button > 0) return;
      const index = event.target.dataset?.point;
      const middle = event.target.dataset?.middle;
      if (index === undefined && middle === undefined && !this.drawing) return;
      event.preventDefault();
      this.$refs.stage.setPointerCapture(event.pointerId);
      const at = this.place(event);
      if (middle !== undefined) {
        this.points.splice(Number(middle) + 1, 0, at);
        this.drag = { index: Number(middle) + 1 };
      } else if (this.drawing && this.points.length >= 3 && this.shape.kind === "polygon" && this.near(at, this.points[0])) {
        this.finish();
      } else if (index !== undefined && !this.drawing) {
        this.drag = { index: Number(index) };
        event.target.focus();
      } else if (this.drawing && !this.full) {
        this.points.push(at);
        const pulls = this.shape.kind === "line" && this.points.length === 1;
        if (pulls) this.points.push([...at]);
        this.drag = { index: this.points.length - 1, pulled: pulls, from: at };
      }
    },
    move(event) {
      this.at = this.place(event);
      if (this.drag) this.points[this.drag.index] = this.at;
    },
    release() {
      if (!this.drag) return;
      const { pulled, from, index } = this.drag;
      this.drag = null;
      if (pulled && this.near(this.points[index], from)) this.points.pop();
      if (this.drawing && this.full) this.drawing = false;
      this.tell();
    },
    finish() { if (!this.incomplete) { this.drawing = false; this.tell(); } },
    tell() { if (!this.drawing && !this.incomplete) this.$emit("drawn", { key: this.here, points: copy(this.points) }); },
    key(event, index) {
      const step = event.shiftKey ? 10 : 1;
      const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
      if (by && !this.readonly) {
        const [x, y] = this.points[index];
        this.put(index, x + by[0], y + by[1]);
      } else if (["Delete", "Backspace"].includes(event.key)) this.drop(index);
      else if (event.key === "Enter" && this.drawing) this.finish();
      else return;
      event.preventDefault();
    },
    put(index, x, y) {
      this.points[index] = [Math.round(Math.min(Math.max(x, 0), this.width)), Math.round(Math.min(Math.max(y, 0), this.height))];
      this.tell();
    },
    drop(index) { if (!this.readonly && this.points.length > this.shape.least) { this.points.splice(index, 1); this.tell(); } },
    add() {
      const [x, y] = this.points.at(-1) ?? [this.width / 2, this.height / 2];
      this.points.push([Math.round(Math.min(x + this.width / 10, this.width)), Math.round(y)]);
      if (this.drawing && this.full) this.drawing = false;
      if (this.points.length >= this.shape.least && this.shape.kind !== "line") this.drawing = false;
      this.tell();
    },
    path(points) { return points.map((p) => p.join(",")).join(" "); },
    colour(key) { return `hsl(${(this.shapes.findIndex((s) => s.key === key) * 137 + 168) % 360} 85% 55%)`; },
    label(shape) { const p = this.own[shape.key] ?? []; return p.length ? [Math.min(...p.map((q) => q[0])), Math.min(...p.map((q) => q[1]))] : null; },
  },
  template: `
  <div class="drawing">
    <div class="drawing-tools" role="toolbar" aria-label="Zones and lines">
      <button v-for="s in shapes" :key="s.key" type="button" class="button small" :aria-pressed="s.key === here" :title="'used by ' + s.steps.join(', ')" @click="choose(s.key)">
        <span class="swatch" :style="{background: colour(s.key)}"></span>{{ s.title }}</button>
      <span class="grow"></span>
      <template v-if="shape && !readonly">
        <button type="button" class="button small" @click="add" :disabled="full">Add point</button>
        <button type="button" class="button small" v-if="drawing && shape.kind !== 'line'" :disabled="incomplete" @click="finish">Done</button>
        <button type="button" class="button small" @click="anew">Draw anew</button>
      </template>
    </div>
    <div class="drawing-stage" :class="{drawing}" ref="stage" :style="{aspectRatio: width + ' / ' + height}" @pointerdown="press" @pointermove="move" @pointerup="release" @pointercancel="release" @dblclick="finish">
      <img v-if="picture" :src="picture" alt="Snapshot of the camera" draggable="false">
      <svg :viewBox="'0 0 ' + width + ' ' + height" preserveAspectRatio="none">
        <g v-for="s in shapes" :key="s.key" :class="{active: s.key === here}" :style="{'--shape': colour(s.key)}">
          <polygon v-if="s.kind === 'polygon' && !(drawing && s.key === here)" :points="path(own[s.key] ?? [])"/>
          <polyline v-else :points="path(own[s.key] ?? [])"/>
          <text v-if="label(s)" :x="label(s)[0]" :y="Math.max(label(s)[1] - 14 * unit, 16 * unit)" :font-size="14 * unit">{{ s.title }}</text>
        </g>
        <line v-if="drawing && points.length && at && !drag" class="rubber" :x1="points.at(-1)[0]" :y1="points.at(-1)[1]" :x2="at[0]" :y2="at[1]"/>
        <g v-if="shape" :style="{'--shape': colour(here)}">
          <circle v-for="(m, i) in readonly ? [] : middles" :key="'m' + i" class="middle" :data-middle="i" :cx="m[0]" :cy="m[1]" :r="5 * unit"/>
          <circle v-for="(p, i) in points" :key="i" class="point" :data-point="i" :cx="p[0]" :cy="p[1]" :r="8 * unit" tabindex="0" role="button"
            :aria-label="'Point ' + (i + 1) + ' of ' + shape.title + ', x ' + p[0] + ', y ' + p[1]" @keydown="key($event, i)"/>
        </g>
      </svg>
    </div>
    <p class="quiet drawing-hint">{{ hint }}</p>
    <details v-if="points.length" class="drawing-numbers"><summary>Points as numbers</summary>
      <div v-for="(p, i) in points" :key="i" class="drawing-pair"><span>{{ i + 1 }}</span>
        <input type="number" :value="p[0]" :aria-label="'x of point ' + (i + 1)" :readonly="readonly" @change="put(i, Number($event.target.value), p[1])">
        <input type="number" :value="p[1]" :aria-label="'y of point ' + (i + 1)" :readonly="readonly" @change="put(i, p[0], Number($event.target.value))">
      </div></details>
  </div>`,
};
