// A workflow tried on a picture or a clip: the annotated pictures, the outputs of each, what failed.
export default {
  props: { address: String, csrf: String, snapshot: String, denied: String },
  emits: ["asked", "tried"],
  data: () => ({ file: null, state: "idle", share: 0, problem: null, told: null, index: 0, over: false }),
  computed: {
    frame() { return this.told?.frames[this.index]; },
    failed() { return Object.entries(this.told?.failed ?? {}); },
    outputs() { return Object.entries(this.frame?.outputs ?? {}); },
  },
  methods: {
    take(files) { if (files?.length) this.file = files[0]; },
    ask(own) { this.problem = null; this.$emit("asked", { snapshot: !own }); },
    decoded(url) {
      const text = atob(url.slice(url.indexOf(",") + 1));
      return new Blob([Uint8Array.from(text, (c) => c.charCodeAt(0))], { type: "image/jpeg" });
    },
    async go(fields, snapshot) {
      const form = new FormData();
      for (const [name, value] of Object.entries(fields)) form.append(name, value);
      if (snapshot) form.append("media", this.decoded(snapshot), "snapshot.jpg");
      else form.append("media", this.file);
      this.state = "sending";
      const { answer, problem } = await window.outrider.post(this.address, this.csrf, form, {
        progress: (share) => { this.share = share; },
        sent: () => { this.state = "running"; },
      });
      this.state = "idle";
      this.problem = problem ?? null;
      this.told = answer ?? null;
      this.index = 0;
      const { frames, ...rest } = answer ?? {};
      this.$emit("tried", answer ? { ...rest, ok: true } : { ok: false, problems: problem.problems ?? [] });
    },
    line(value) {
      if (value?.predictions) {
        const counts = {};
        for (const each of value.predictions) counts[each.class] = (counts[each.class] ?? 0) + 1;
        const words = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
        return words.join(", ") || "nothing";
      }
      if (value?.type === "image") return `picture, ${value.width} by ${value.height}`;
      const text = JSON.stringify(value);
      return text.length > 160 ? text.slice(0, 159) + "…" : text;
    },
    pretty: (value) => JSON.stringify(value, null, 2),
    words(us) { return us < 1000 ? `${Math.round(us)} µs` : `${(us / 1000).toFixed(1)} ms`; },
  },
  template: `
  <div class="trial">
    <div class="upload-row">
      <label class="drop small" :class="{over}" @dragover.prevent="over = true" @dragleave="over = false" @drop.prevent="over = false; take($event.dataTransfer.files)">
        <input class="sr" type="file" accept="image/*,video/*,.avi,.mkv" :disabled="state !== 'idle'" @change="take($event.target.files); $event.target.value = ''">
        <strong>{{ file ? file.name : 'Choose or drop a picture or a clip' }}</strong>
      </label>
      <button type="button" class="button primary" :disabled="!file || state !== 'idle' || !!denied" :title="denied || null" @click="ask(true)">Try on this file</button>
      <button type="button" class="button" :disabled="!snapshot || state !== 'idle' || !!denied" :title="denied || (snapshot ? null : 'Take a snapshot of a camera first')" @click="ask(false)">Try on the snapshot</button>
    </div>
    <div v-if="state !== 'idle'" role="status" class="upload-state">
      <progress :value="state === 'sending' ? share : undefined" max="1"></progress>
      <span>{{ state === 'sending' ? 'Sending, ' + Math.round(share * 100) + ' %' : 'Running in a process of its own; nothing is sent from it …' }}</span>
    </div>
    ${window.outrider.problemBox}
    <div v-if="frame" class="trial-seen">
      <figure>
        <img :src="'data:image/jpeg;base64,' + frame.picture" :alt="'Frame ' + frame.frame + ' as the workflow draws it'">
        <figcaption>
          <input v-if="told.frames.length > 1" type="range" min="0" :max="told.frames.length - 1" v-model.number="index" aria-label="Frame">
          <span class="quiet">frame {{ frame.frame }}<template v-if="frame.at_s !== null">, {{ frame.at_s.toFixed(1) }} s</template> of {{ told.done }}<template v-if="told.ended">, ended {{ told.ended }}</template></span>
        </figcaption>
      </figure>
      <div class="trial-told">
        <p v-if="frame.no_answer" class="trial-bad">No answer: {{ frame.no_answer }}</p>
        <p v-for="(message, step) in frame.errors" :key="step" class="trial-bad"><code>{{ step }}</code> {{ message }}</p>
        <h3>Outputs</h3>
        <dl class="facts"><template v-for="[name, value] in outputs" :key="name"><dt>{{ name }}</dt><dd>{{ line(value) }}</dd></template></dl>
        <details><summary>As JSON</summary><pre>{{ pretty(frame.outputs) }}</pre></details>
        <p v-if="told.not_sent.length" class="quiet">Not sent, as this is a trial: {{ told.not_sent.join(', ') }}.</p>
        <p v-if="failed.length" class="trial-bad">Failed: <span v-for="[step, f] in failed" :key="step"><code>{{ step }}</code> on {{ f.frames }} frame(s): {{ f.message }}</span></p>
      </div>
    </div>
  </div>`,
};
