// A file to the registry: chosen or dropped, sent with progress, checked, and what the check says.
export default {
  props: { address: String, csrf: String, what: String, accept: String, suggestion: String, denied: String, families: Object },
  emits: ["done"],
  data: () => ({ file: null, name: "", state: "idle", share: 0, problem: null, over: false, wishes: { family: "", task: "", labels: "" } }),
  computed: {
    onnx() { return !!this.families && /\.onnx$/i.test(this.file?.name ?? ""); },
    own: () => "the package's own",
    stem() { return (this.file?.name ?? "").replace(/\.onnx$/i, "").replace(/[^A-Za-z0-9._-]+/g, "_").replace(/^[._-]+/, "").slice(0, 64) || "model"; },
  },
  methods: {
    take(files) {
      if (!files?.length || this.state !== "idle") return;
      this.file = files[0];
      this.problem = null;
    },
    size: (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`),
    async send() {
      this.state = "sending";
      this.share = 0;
      this.problem = null;
      const told = { name: this.name || (this.onnx ? this.stem : ""), ...(this.onnx ? this.wishes : {}) };
      const given = new URLSearchParams(Object.entries(told).filter(([, value]) => value)).toString();
      const query = given && `?${given}`;
      const { answer, problem } = await window.outrider.post(this.address + query, this.csrf, this.file, {
        headers: { "Content-Type": "application/octet-stream" },
        progress: (share) => { this.share = share; },
        sent: () => { this.state = "checking"; },
      });
      this.state = "idle";
      this.problem = problem ?? null;
      if (answer) {
        this.file = null;
        this.$emit("done", { name: answer.name, version: answer.version, signed: answer.signed, recognised: answer.card?.recognised ?? "" });
      }
    },
  },
  template: `
  <div class="upload">
    <label class="drop" :class="{over, busy: state !== 'idle'}" @dragover.prevent="over = true" @dragleave="over = false" @drop.prevent="over = false; take($event.dataTransfer.files)">
      <input class="sr" type="file" :accept="accept" :disabled="state !== 'idle' || !!denied" @change="take($event.target.files); $event.target.value = ''">
      <strong>{{ file ? file.name : 'Choose or drop ' + what }}</strong>
      <span class="quiet">{{ file ? size(file.size) : suggestion }}</span>
    </label>
    <div class="upload-row">
      <label class="plain-field">Name in the registry<input v-model.trim="name" :placeholder="onnx ? stem : own" :disabled="state !== 'idle'" pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*"></label>
      <button type="button" class="button primary" :disabled="!file || state !== 'idle' || !!denied" :title="denied || null" :aria-busy="state !== 'idle'" @click="send">Upload</button>
    </div>
    <fieldset v-if="onnx" class="upload-onnx" :disabled="state !== 'idle'">
      <legend>A package is made of it. What it does not say itself:</legend>
      <div class="upload-row">
        <label class="plain-field">Family<select v-model="wishes.family"><option value="">recognise it</option><option v-for="(_, name) in families" :key="name">{{ name }}</option></select></label>
        <label class="plain-field">Task<select v-model="wishes.task"><option value="">as recognised</option><option>classification</option><option>multi-label</option></select></label>
        <label class="plain-field">Labels<textarea v-model.trim="wishes.labels" rows="1" placeholder="the file's; or coco80, or names with commas"></textarea></label>
      </div>
      <p class="quiet">{{ wishes.family ? wishes.family + ' expects: ' + families[wishes.family] : 'The family is recognised by the outputs of the graph; the package has no golden picture.' }}</p>
    </fieldset>
    <div v-if="state !== 'idle'" role="status" class="upload-state">
      <progress :value="state === 'sending' ? share : undefined" max="1"></progress>
      <span>{{ state === 'sending' ? 'Sending, ' + Math.round(share * 100) + ' %' : (onnx ? 'Packing and checking' : 'Checking') + ': the runtime loads it in a process of its own …' }}</span>
    </div>
    ${window.outrider.problemBox}
  </div>`,
};
