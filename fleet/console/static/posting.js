// Files from the browser straight to the API, with progress; used by upload.js and trial.js.
(() => {
function post(address, csrf, body, { headers = {}, progress = () => {}, sent = () => {} } = {}) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", (window.path_prefix || "") + address);
    request.setRequestHeader("X-CSRF-Token", csrf);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => { if (event.lengthComputable) progress(event.loaded / event.total); };
    request.upload.onload = sent;
    request.onerror = () => resolve({ problem: { title: "Cut off", detail: "The control plane cannot be reached.", problems: [] } });
    request.onload = () => {
      let told = null;
      try { told = JSON.parse(request.responseText); } catch { /* said below */ }
      if (request.status < 300 && told) resolve({ answer: told });
      else resolve({ problem: told ?? { title: `HTTP ${request.status}`, detail: request.statusText, problems: [] } });
    };
    request.send(body);
  });
}

const problemBox = `
  <section v-if="problem" class="problem" role="alert"><h2 class="problem-title">{{ problem.status === 422 ? 'It was refused' : problem.title }}</h2><p>{{ problem.detail }}</p>
    <ul v-if="problem.problems?.length" class="problem-list"><li v-for="p in problem.problems" :key="p.path + p.message">
      <span class="code">{{ p.path }}</span><span>{{ p.message }}</span><span v-if="p.expected" class="quiet">expected: {{ p.expected }}</span><span v-if="p.remedy" class="quiet">{{ p.remedy }}</span></li></ul>
    <p v-else-if="problem.remedy" class="quiet">{{ problem.remedy }}</p></section>`;

Object.assign(window.outrider, { post, problemBox });
})();
