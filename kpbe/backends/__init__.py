"""Audio-driven talking-head methods ("backends") behind one protocol; a new one is a new module of this
package.
"""
