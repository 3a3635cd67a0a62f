"""The one page of the local interface: pictures and figures of the cameras. Self-contained, nothing fetched from outside."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Outrider</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">
<style>
:root{color-scheme:light dark;--bg:#f6f7f8;--fg:#16191d;--dim:#59626e;--card:#fff;--line:#dde1e6;--ok:#147a3d;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--bg:#14171a;--fg:#e8eaed;--dim:#9aa4b0;--card:#1d2126;--line:#30363d;--ok:#5fd08a;--bad:#ff8a80}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.45 system-ui,sans-serif}
header{padding:1rem 1.25rem;display:flex;gap:.4rem 1.25rem;flex-wrap:wrap;align-items:baseline;border-bottom:1px solid var(--line)}
h1{font-size:1.1rem;margin:0}h2{font-size:1rem;margin:0}.dim{color:var(--dim)}.ok{color:var(--ok)}.bad{color:var(--bad)}
main{padding:1.25rem;display:grid;gap:1.25rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}
article{background:var(--card);border:1px solid var(--line);border-radius:8px;overflow:hidden;max-width:60rem}
article>div{padding:.75rem 1rem 1rem}figure{margin:0;position:relative;background:#000;color:#9aa4b0}
figure span{position:absolute;inset:0;display:grid;place-items:center}img{display:block;position:relative;width:100%;min-height:12rem;max-height:75vh;object-fit:contain}
h2{display:flex;gap:.75rem;align-items:baseline}h2 small{font-size:.9rem;font-weight:400}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));gap:.5rem 1.25rem;margin:.6rem 0 0}
dt{color:var(--dim);font-size:.85rem}dd{margin:0;overflow-wrap:anywhere}
</style></head><body>
<header><h1 id="device">Outrider</h1><span id="link"></span><span id="phase" class="dim"></span><span id="why" class="bad"></span></header>
<main id="cameras"><p class="dim">No camera is defined yet.</p></main>
<script>
"use strict";
const main=document.getElementById("cameras"),cards=new Map();
const text=(id,value,cls)=>{const e=document.getElementById(id);e.textContent=value;if(cls!==undefined)e.className=cls};
function card(name){
  const make=(tag,...inside)=>{const e=document.createElement(tag);e.append(...inside);return e};
  const img=make("img"),dl=make("dl"),state=make("small");
  img.alt="Picture of camera "+name;img.src="/cameras/"+encodeURIComponent(name)+"/stream";
  img.onerror=()=>setTimeout(()=>{img.src="/cameras/"+encodeURIComponent(name)+"/stream?"+Date.now()},2000);
  const a=make("article",make("figure",make("span","waiting for a picture …"),img),make("div",make("h2",name,state),dl));
  return{a,dl,img,state}}
function rows(dl,pairs){dl.replaceChildren(...pairs.filter(p=>p[1]!=="").map(([k,v,cls])=>{
  const r=document.createElement("div"),t=document.createElement("dt"),d=document.createElement("dd");
  t.textContent=k;d.textContent=v;if(cls)d.className=cls;r.append(t,d);return r}))}
const say=v=>v===null?"none":typeof v==="number"?String(Number.isInteger(v)?v:+v.toFixed(2)):Array.isArray(v)?v.map(say).join(", ")||"none":
  typeof v==="object"?Object.entries(v).map(([k,x])=>say(x)+" "+k).join(", ")||"none":String(v);
const by=(o,unit)=>Object.entries(o||{}).map(([k,v])=>k+" "+(unit?v.toFixed(1)+unit:v)).join(", ");
const sum=o=>Object.values(o||{}).reduce((a,b)=>a+b,0);
async function refresh(){
  try{
    const[status,cameras]=await Promise.all(["/status","/cameras"].map(u=>fetch(u).then(r=>r.json())));
    text("device",status.device||"not enrolled");
    text("link",status.connected?"connected":"offline",status.connected?"ok":"bad");
    const done=status.reported.progress,state=status.phase.toLowerCase().replaceAll("_"," ");
    text("phase","revision "+status.reported.revision+" · "+state+(done!=null?" "+Math.round(done*100)+" %":""));
    text("why",status.reported.message||"");
    for(const[name,c]of cards)if(!(name in cameras)){c.a.remove();c.img.src="";cards.delete(name)}
    const names=Object.keys(cameras);
    if(names.length&&!cards.size)main.replaceChildren();
    for(const name of names){
      if(!cards.has(name)){const c=card(name);cards.set(name,c);main.append(c.a)}
      const f=cameras[name],blind=f.blind_now,c=cards.get(name),seen=Object.entries(f.summary||{}).filter(p=>p[0]!=="predictions");
      c.state.textContent=f.state;c.state.className=f.state==="streaming"?"ok":"bad";
      rows(c.dl,[...seen.map(([k,v])=>[k,say(v)]),["rate",f.fps.toFixed(1)+" frames/s"],
        ["latency, p50 / p95",f.latency_p50_ms==null?"":f.latency_p50_ms.toFixed(0)+" / "+f.latency_p95_ms.toFixed(0)+" ms"],
        ["frames / results",f.frames+" / "+f.results],["no answer",by(f.no_answer)],["skipped",by(f.skipped)],
        ["blind now",blind?blind.cause+" for "+blind.for_s.toFixed(1)+" s":"","bad"],
        ["blind in all",sum(f.blind_s)?sum(f.blind_s).toFixed(1)+" s: "+(Object.keys(f.blind_s).length>1?by(f.blind_s," s"):Object.keys(f.blind_s)[0]):"never"],["restarts",f.restarts?String(f.restarts):""]])}
  }catch(e){text("link","the agent does not answer","bad")}
  setTimeout(refresh,1000)}
refresh();
</script></body></html>
"""
