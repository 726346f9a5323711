'use strict'

/**
 * lk-dispatch's own example, as its README has it and as its users compile it, with one import changed and nothing else.
 */

const fs = require('node:fs')
const path = require('node:path')
const babel = require('@babel/core')

const readme = fs.readFileSync(
  path.join(path.dirname(require.resolve('lk-dispatch/package.json')), 'README.md'),
  'utf8',
)
const [, example] = /## Usage\s+```js\n([\s\S]*?)```/.exec(readme)
const changed = example.replace('import getDispatch from "lk-dispatch"', 'import getDispatch from "dispatchd"')
if (changed === example) throw new Error('the example does not import lk-dispatch')
const { code } = babel.transformSync(changed, {
  plugins: [require.resolve('@babel/plugin-transform-modules-commonjs')],
})
new Function('require', 'exports', code)(require, {})
