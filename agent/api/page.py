"""The one page of the local interface: pictures and figures of the cameras. Self-contained, nothing fetched from outside."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Outrider</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<style>
:root{color-scheme:light dark;--bg:#f6f7f8;--fg:#16191d;--dim:#59626e;--card:#fff;--line:#dde1e6;--ok:#147a3d;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--bg:#14171a;--fg:#e8eaed;--dim:#9aa4b0;--card:#1d2126;--line:#30363d;--ok:#5fd08a;--bad:#ff8a80}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.45 system-ui,sans-serif}
header{padding:1rem 1.25rem;display:flex;gap:.4rem 1.25rem;flex-wrap:wrap;align-items:baseline;border-bottom:1px solid var(--line)}
h1{font-size:1.1rem;margin:0}h2{font-size:1rem;margin:0}.dim{color:var(--dim)}.ok{color:var(--ok)}.bad{color:var(--bad)}
main{padding:1.25rem;display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,24rem),1fr))}
article{background:var(--card);border:1px solid var(--line);border-radius:8px;overflow:hidden}
article div{padding:.75rem 1rem}img{display:block;width:100%;min-height:8rem;background:#000}
dl{display:grid;grid-template-columns:auto 1fr;gap:.1rem .75rem;margin:.5rem 0 0}dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}
</style></head><body>
<header><h1 id="device">Outrider</h1><span id="link"></span><span id="phase" class="dim"></span><span id="why" class="bad"></span></header>
<main id="cameras"><p class="dim">No camera is defined yet.</p></main>
<script>
"use strict";
const main=document.getElementById("cameras"),cards=new Map();
const text=(id,value,cls)=>{const e=document.getElementById(id);e.textContent=value;if(cls!==undefined)e.className=cls};
function card(name){
  const a=document.createElement("article"),img=document.createElement("img"),box=document.createElement("div"),
    h=document.createElement("h2"),dl=document.createElement("dl");
  img.alt="Picture of camera "+name;img.src="/cameras/"+encodeURIComponent(name)+"/stream";
  img.onerror=()=>setTimeout(()=>{img.src="/cameras/"+encodeURIComponent(name)+"/stream?"+Date.now()},2000);
  h.textContent=name;box.append(h,dl);a.append(img,box);return{a,dl,img}}
function rows(dl,pairs){dl.replaceChildren(...pairs.filter(p=>p[1]!=="").flatMap(([k,v,cls])=>{
  const t=document.createElement("dt"),d=document.createElement("dd");t.textContent=k;d.textContent=v;if(cls)d.className=cls;return[t,d]}))}
const list=o=>Object.entries(o||{}).map(([k,v])=>k+" "+(typeof v==="number"?+v.toFixed(1):v)).join(", ");
async function refresh(){
  try{
    const[status,cameras]=await Promise.all(["/status","/cameras"].map(u=>fetch(u).then(r=>r.json())));
    text("device",status.device||"not enrolled");
    text("link",status.connected?"connected":"offline",status.connected?"ok":"bad");
    text("phase","revision "+status.reported.revision+" · "+status.phase+(status.reported.progress!=null?" "+Math.round(status.reported.progress*100)+" %":""));
    text("why",status.reported.message||"");
    for(const[name,c]of cards)if(!(name in cameras)){c.a.remove();c.img.src="";cards.delete(name)}
    const names=Object.keys(cameras);
    if(names.length&&!cards.size)main.replaceChildren();
    for(const name of names){
      if(!cards.has(name)){const c=card(name);cards.set(name,c);main.append(c.a)}
      const f=cameras[name],blind=f.blind_now;
      rows(cards.get(name).dl,[["state",f.state,f.state==="streaming"?"ok":"bad"],["rate",f.fps.toFixed(1)+" /s"],
        ["latency",f.latency_p50_ms==null?"":f.latency_p50_ms.toFixed(0)+" ms, p95 "+f.latency_p95_ms.toFixed(0)+" ms"],
        ["sees",list(f.summary)],["frames",f.frames+", results "+f.results],["no answer",list(f.no_answer)],["skipped",list(f.skipped)],
        ["blind now",blind?blind.cause+" for "+blind.for_s.toFixed(1)+" s":"","bad"],["blind in all",list(f.blind_s)],["restarts",f.restarts?String(f.restarts):""]])}
  }catch(e){text("link","the agent does not answer","bad")}
  setTimeout(refresh,1000)}
refresh();
</script></body></html>
"""
