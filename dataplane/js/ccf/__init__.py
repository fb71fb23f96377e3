"""The `ccf` global: what an application, a constitution or a ballot may ask of the host (node-api.md 5.8).

`prelude.js` is its JavaScript half; the host functions stand beside it, one file per name.
"""
